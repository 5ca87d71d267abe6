"""Attention: the reference, decode over pages, and the Triton kernel."""
