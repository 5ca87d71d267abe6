"""Calibration: profiles measured on real hardware, through the very code that serves."""
