"""Machines, models and costs."""
