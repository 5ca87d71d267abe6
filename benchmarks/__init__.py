"""Benchmarks that anyone can run; each prints the figures it measures."""
