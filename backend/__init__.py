"""The torch backend: the policy core driven by a real clock."""
