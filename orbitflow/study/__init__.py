"""Studies: a grid of simulations, run by a pool of processes, resumable to the cell."""
