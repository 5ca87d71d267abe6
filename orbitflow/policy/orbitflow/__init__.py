"""`orbitflow` and `uniform-ilp`: placements planned per request. The policy is in `policy.py`."""
