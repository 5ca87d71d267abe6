"""`orbitflow study paper`: a line that says where the paper's evaluation has gone."""

from __future__ import annotations

from orbitflow.errors import UserError

ANY_OPTIONS = {"ignore_unknown_options": True, "allow_extra_args": True}


def paper_command() -> None:
    """Moved: the paper's evaluation is `scripts/paper` in a clone of the repository."""
    raise UserError("moved: run scripts/paper --quick in a clone of the repository")
