"""`orbit`: deadline-aware admission, and rotation of who runs."""
