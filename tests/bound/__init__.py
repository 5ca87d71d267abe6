"""What no policy can exceed."""
