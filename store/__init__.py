"""Ground state: events, labels, decisions, keys, audit; point-in-time reads. The only SQL."""
