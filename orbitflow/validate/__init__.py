"""Validation: a recorded run of the backend against its simulation."""
