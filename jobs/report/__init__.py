"""What an evaluation leaves behind: its circumstances, its plots, its page."""
