"""HTTP service and the moderators' page."""
