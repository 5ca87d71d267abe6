"""Slow, obvious twins of the simulator, written from the design and not from the code."""
