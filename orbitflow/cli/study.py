"""`orbitflow study run`: a grid of simulations. Its options are those of `sim`, and a few more."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from orbitflow.cli.shared_options import read_config, with_options_of_sim
from orbitflow.cli.study_capacity import capacity_command
from orbitflow.cli.study_pareto import pareto_command
from orbitflow.errors import UserError

_STUDY = "Study"
_WORKLOAD = "Workload"

study_app = typer.Typer(
    help="Run a grid of simulations and compare its cells.", no_args_is_help=True
)


@study_app.callback()
def common() -> None:
    """Run a grid of simulations and compare its cells."""


@study_app.command("run")
@with_options_of_sim(lambda name: True)
def run_command(
    grid: Annotated[
        list[str] | None,
        typer.Option(
            help="Vary an option: key=a,b,c, such as slo_scale=1,1.5,2.5; repeat for several.",
            rich_help_panel=_STUDY,
        ),
    ] = None,
    grid_file: Annotated[
        Path | None,
        typer.Option(
            help="A TOML file with a table [grid] of key = [a, b, c].", rich_help_panel=_STUDY
        ),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(
            help="Run every cell with so many seeds, from --seed on: mean and 95 % interval.",
            rich_help_panel=_STUDY,
        ),
    ] = 1,
    bound: Annotated[
        bool,
        typer.Option(
            "--bound",
            help="Also compute what no policy can exceed in each cell (timely share, SLO "
            "attainment, goodput), and show each policy's share of it. A study that was begun "
            "without it can be gone on with.",
            rich_help_panel=_STUDY,
        ),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes; by default as many as CPUs.", rich_help_panel=_STUDY),
    ] = None,
    arrival_jitter: Annotated[
        float | None,
        typer.Option(
            help="Multiply every gap by 1 ± x, seeded; 0 <= x < 1. Default 0; 0.01 with --seeds.",
            rich_help_panel=_WORKLOAD,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the study; one that was begun is gone on with. "
            "Default: studies/<trace>-<n>.",
            rich_help_panel="Output",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print only the summary, as JSON.", rich_help_panel="Output"),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Print only the table.", rich_help_panel="Output"),
    ] = False,
    **base: Any,
) -> None:
    """Simulate every cell of a grid, on all CPUs, and compare. All cells share the base's SLO.

    Example: orbitflow study run --trace azure_conv --grid policy=all --grid rate_scale=0.1,0.2
    """
    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers} must be at least 1")
    from orbitflow.cli.study_run import run
    from orbitflow.study.grid import read_grid
    from orbitflow.study.plan import plan_study

    study = plan_study(
        read_config(base),
        read_grid(grid or (), grid_file),
        seeds=seeds,
        arrival_jitter=arrival_jitter,
        bounded=bound,
    )
    run(study, out, workers=workers or _cpus(), as_json=as_json, quiet=quiet)


def _cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


study_app.command("capacity")(capacity_command)
study_app.command("pareto")(pareto_command)
