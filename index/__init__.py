"""Vectors to neighbors, risk and rings; immutable builds and the service over them."""
