"""Behaviour that every driver owes the serving core: one suite, one parameter per driver."""
