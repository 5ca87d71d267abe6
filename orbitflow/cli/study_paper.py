"""`orbitflow study paper`: the paper's evaluation on workloads drawn by its recipe."""

from __future__ import annotations

from typing import Annotated

import typer

from orbitflow.cli.options import AsJson, Quiet, StudyOut, Workers, check_workers


def paper_command(
    quick: Annotated[
        bool,
        typer.Option("--quick", help="A minute instead of ten: fewer seeds, requests and points."),
    ] = False,
    out: StudyOut = None,
    workers: Workers = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run the OrbitFlow paper's evaluation again and put its numbers beside ours.

    Workloads are drawn by its recipe (`--trace paper` of sim is one of them), machines are its
    published fits. Every run is judged twice: as the paper counts late tokens, and fairly.

    Example: orbitflow study paper --quick
    """
    check_workers(workers)
    from benchmarks.paper.experiments import FULL, QUICK
    from benchmarks.paper.run import run

    from orbitflow.cli.progress import usable_cpus

    scope = QUICK if quick else FULL
    run(scope, out, workers=workers or usable_cpus(), as_json=as_json, quiet=quiet)
