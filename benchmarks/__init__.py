"""Measurements with dated results."""
