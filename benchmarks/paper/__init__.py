"""The OrbitFlow paper's evaluation, run again: its figures, and its numbers beside ours."""
