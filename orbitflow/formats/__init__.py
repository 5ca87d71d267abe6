"""Reading files that others wrote or broke: one door, columns, and typed records."""
