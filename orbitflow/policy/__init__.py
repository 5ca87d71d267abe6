"""What to keep on the GPU, what to run, whom to admit: one file per idea, no simpy and no torch."""
