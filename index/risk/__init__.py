"""Calibrated risk from neighbors of equal age, and rings."""
