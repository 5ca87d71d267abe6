"""The simulator: the policy core driven by a virtual clock (SimPy), timed by a profile."""
