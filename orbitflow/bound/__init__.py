"""What no policy can exceed on a trace, a machine and an SLO."""
