"""What is shown of a decision."""
