"""Command line and batch work."""
