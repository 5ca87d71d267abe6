"""Tests of the turn problem."""
