"""Calibration: profiles measured on real hardware. Nothing here yet."""
