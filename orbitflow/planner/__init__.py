"""The planner: which layers of which request stay on the GPU, and who runs, for the next passes."""
