"""Copies between device and host, and what waits for them."""
