"""`orbitflow study run`: a grid of simulations. Its options are those of `sim`, and a few more."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orbitflow.cli.sim import sim_command
from orbitflow.errors import UserError
from orbitflow.study.keys import POLICY, is_key, key_of, read_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from orbitflow.config import RunConfig

_STUDY = "Study"
_WORKLOAD = "Workload"

study_app = typer.Typer(
    help="Run a grid of simulations and compare its cells.", no_args_is_help=True
)


def _with_options_of_sim(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `sim` that make up a configuration, before its own."""
    own = inspect.signature(command, eval_str=True).parameters
    theirs = inspect.signature(sim_command, eval_str=True).parameters
    taken = [p for name, p in theirs.items() if is_key(name) and name not in own]
    named = [p for p in own.values() if p.kind is not p.VAR_KEYWORD]

    def run(**options: Any) -> None:
        command(**options)

    signature = inspect.Signature(
        [p.replace(kind=p.KEYWORD_ONLY) for p in (*taken, *named)], return_annotation=None
    )
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    run.__doc__ = command.__doc__
    return run


@study_app.callback()
def common() -> None:
    """Run a grid of simulations and compare its cells."""


@study_app.command("run")
@_with_options_of_sim
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
        _config(base),
        read_grid(grid or (), grid_file),
        seeds=seeds,
        arrival_jitter=arrival_jitter,
    )
    run(study, out, workers=workers or _cpus(), as_json=as_json, quiet=quiet)


def _config(options: dict[str, Any]) -> RunConfig:
    """The configuration that the options of `sim` stand for."""
    from orbitflow.config import RunConfig

    values: dict[str, Any] = {"policies": tuple(options.pop(POLICY, None) or ())}
    for name, value in options.items():
        key = key_of(name)
        values[key] = value
        if isinstance(value, str) and key != name:  # text with a unit
            values[key] = read_value(key, value, f"--{name.replace('_', '-')}")
    return RunConfig(**values)


def _cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
