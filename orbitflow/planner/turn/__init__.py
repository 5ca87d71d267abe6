"""The turn problem: for one window, who runs and how many layers of each stay on the host."""
