"""What a machine does with a model: profiles, costs, and the pipeline of a pass."""
