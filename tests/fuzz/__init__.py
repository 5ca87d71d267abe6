"""Damaged files, and every reader of the product on them."""
