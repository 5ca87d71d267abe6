"""The sans-I/O serving core: requests in, steps out."""
