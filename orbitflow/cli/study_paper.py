"""`orbitflow study paper`: the paper's evaluation on workloads drawn by its recipe."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from orbitflow.errors import UserError


def paper_command(
    quick: Annotated[
        bool,
        typer.Option("--quick", help="A minute instead of ten: fewer seeds, requests and points."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the results, gone on with if it is there; else studies/paper-<n>."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Simulations at a time; else one per CPU.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print only summary.json.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the tables.")] = False,
) -> None:
    """Run the OrbitFlow paper's evaluation again and put its numbers beside ours.

    Workloads are drawn by its recipe (`--trace paper` of sim is one of them), machines are its
    published fits. Every run is judged twice: as the paper counts late tokens, and fairly.

    Example: orbitflow study paper --quick
    """
    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers} must be at least 1")
    from orbitflow.cli.study_paper_run import run
    from orbitflow.paper.experiments import FULL, QUICK

    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    run(QUICK if quick else FULL, out, workers=workers or cpus or 1, as_json=as_json, quiet=quiet)
