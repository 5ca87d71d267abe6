"""`orbitflow study`. `run` is a grid of simulations, or a search among them: its options are those
of `sim`, and a few more. The others have modules of their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from orbitflow.cli.options import (
    AsJson,
    Quiet,
    StudyJitter,
    StudyOut,
    Workers,
    check_workers,
    read_config,
    with_options_of_sim,
)
from orbitflow.cli.study_capacity import capacity_command
from orbitflow.cli.study_paper import paper_command
from orbitflow.cli.study_pareto import pareto_command
from orbitflow.study.keys import Direction, ExecutorName, Sampler

_STUDY = "Study"
_SEARCH = "Search"

study_app = typer.Typer(
    help="Run a grid of simulations and compare its cells.", no_args_is_help=True
)


@study_app.callback()
def common() -> None:
    """Run a grid of simulations and compare its cells."""


study_app.command("paper")(paper_command)


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
            help="A TOML file with a table `grid`, a list of values for each key.",
            rich_help_panel=_STUDY,
        ),
    ] = None,
    search: Annotated[
        Sampler | None,
        typer.Option(
            help="Search instead of a grid: `random` draws trials, `optuna` proposes them from "
            "what the ones before came to.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            help="What is searched: key=low..high, key=low..high:log or key=a,b,c, such as "
            "token_value=0.01..1:log; repeat for several.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(help="How many configurations to try. Default 50.", rich_help_panel=_SEARCH),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            help="The figure to search for, as in summary.json, such as timely_share or "
            "ttft_s.p95; its mean over the seeds counts. Default slo_attainment.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    direction: Annotated[
        Direction | None,
        typer.Option(
            help="Whether it should be large or small. Default: as the figure is better.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    trials_at_once: Annotated[
        int | None,
        typer.Option(
            help="Trials that Optuna proposes before it learns what they came to. More keep more "
            "workers busy, fewer learn faster. Default 4.",
            rich_help_panel=_SEARCH,
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
    workers: Workers = None,
    executor: Annotated[
        ExecutorName,
        typer.Option(
            help="Where simulations run: in processes here, or on a Ray cluster that is there "
            "already (orbitflow installed on its nodes; traces and profiles travel by themselves).",
            rich_help_panel=_STUDY,
        ),
    ] = ExecutorName.LOCAL,
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="With --executor ray: host:port as `ray start --head` prints it, or auto for the "
            "cluster of this machine. Default: RAY_ADDRESS, else auto.",
            rich_help_panel=_STUDY,
        ),
    ] = None,
    arrival_jitter: StudyJitter = None,
    out: StudyOut = None,
    parquet: Annotated[
        bool,
        typer.Option(
            "--parquet",
            help="Also write cells.parquet: a row per simulation, every key and figure a column.",
            rich_help_panel="Output",
        ),
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    **base: Any,
) -> None:
    """Simulate every cell of a grid, or search for the best one, on all CPUs, and compare.

    All cells share the base's SLO. A study that was stopped goes on with the same command.

    Example: orbitflow study run --trace azure_conv --grid policy=all --grid rate_scale=0.1,0.2

    Example: orbitflow study run --trace azure_conv --policy orbit --search optuna
    --vary token_value=0.01..1:log --vary lost_weight=0..1 --trials 40
    """
    check_workers(workers)
    from orbitflow.cli.study_run import Output, executor_of, run

    study = plan_wanted(
        read_config(base),
        grid or (),
        grid_file,
        SearchWanted(search, vary or (), trials, objective, direction, trials_at_once),
        seeds=seeds,
        arrival_jitter=arrival_jitter,
        bounded=bound,
    )
    run(study, Output(out, as_json, quiet, parquet), executor_of(executor, ray_address, workers))


study_app.command("capacity")(capacity_command)
study_app.command("pareto")(pareto_command)
