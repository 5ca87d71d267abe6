"""`orbit`: rate- and deadline-aware admission with rotation. The policy is in `policy.py`."""
