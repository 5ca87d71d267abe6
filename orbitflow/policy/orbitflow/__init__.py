"""`orbitflow` and `uniform-ilp`: placements planned ahead, after arXiv 2601.10729."""
