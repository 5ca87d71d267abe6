"""Options that the commands of `study` share, and what is checked of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from orbitflow.errors import UserError

_OUTPUT = "Output"

Workers: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="Simulations at a time; by default as many as there are CPUs.",
        rich_help_panel="Study",
    ),
]
ArrivalJitter: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="Multiply every gap by 1 ± x, seeded; 0 <= x < 1. Default 0.01 with several seeds, "
        "else 0.",
        rich_help_panel="Workload",
    ),
]
Out: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the study; one that was begun is gone on with. "
        "Default: studies/<trace>-<n>.",
        rich_help_panel=_OUTPUT,
    ),
]
AsJson: TypeAlias = Annotated[
    bool,
    typer.Option("--json", help="Print only the results, as JSON.", rich_help_panel=_OUTPUT),
]
Quiet: TypeAlias = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print only the tables.", rich_help_panel=_OUTPUT),
]


def check_workers(workers: int | None) -> None:
    """Raise a UserError for a number that nothing can run on."""
    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers} must be at least 1")
