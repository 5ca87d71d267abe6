"""`orbitflow study`. `run` is a grid of simulations, or a search among them: its options are those
of `sim`, and a few more. The others have modules of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from orbitflow.cli.options import (
    STUDY_FIELDS,
    STUDY_SHOWN,
    AsJson,
    Command,
    Given,
    Quiet,
    StudyJitter,
    StudyOut,
    Workers,
    check_workers,
    configured,
    refuse_contradictions,
)
from orbitflow.cli.study_capacity import capacity_command
from orbitflow.cli.study_paper import ANY_OPTIONS, paper_command
from orbitflow.cli.study_pareto import pareto_command
from orbitflow.errors import UserError
from orbitflow.options import OUTPUT
from orbitflow.study.keys import Direction, ExecutorName, Sampler

if TYPE_CHECKING:
    from orbitflow.config import RunConfig
    from orbitflow.study.search import Search
    from orbitflow.study.study import Study

_STUDY = "Study"
_SEARCH = "Search"

study_app = typer.Typer(
    help="Run a grid of simulations and compare its cells.", no_args_is_help=True
)


@study_app.callback()
def common() -> None:
    """Run a grid of simulations and compare its cells."""


@study_app.command("run", cls=Command)
@configured(STUDY_FIELDS, shown=STUDY_SHOWN)
def run_command(
    given: Given,
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
            hidden=True,
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
            hidden=True,
        ),
    ] = None,
    trials_at_once: Annotated[
        int | None,
        typer.Option(
            help="Trials that Optuna proposes before it learns what they came to. More keep more "
            "workers busy, fewer learn faster. Default 4.",
            rich_help_panel=_SEARCH,
            hidden=True,
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
            "attainment, goodput), and show each policy's share of it.",
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
            hidden=True,
        ),
    ] = ExecutorName.LOCAL,
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="With --executor ray: host:port as `ray start --head` prints it, or auto for the "
            "cluster of this machine. Default: RAY_ADDRESS, else auto.",
            rich_help_panel=_STUDY,
            hidden=True,
        ),
    ] = None,
    arrival_jitter: StudyJitter = None,
    out: StudyOut = None,
    parquet: Annotated[
        bool,
        typer.Option(
            "--parquet",
            help="Also write cells.parquet: a row per simulation, every key and figure a column.",
            rich_help_panel=OUTPUT,
            hidden=True,
        ),
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Simulate every cell of a grid, or search for the best one, on all CPUs, and compare.

    All cells share the base's SLO. A study that was stopped goes on with the same command.

    Example: orbitflow study run --trace azure_conv --grid policy=all --grid rate_scale=0.1,0.2

    Example: orbitflow study run --trace azure_conv --policy orbit --search optuna
    --vary token_value=0.01..1:log --vary lost_weight=0..1 --trials 40
    """
    check_workers(workers)
    from orbitflow.cli.study_run import Output, executor_of, run

    wanted = SearchWanted(search, vary or (), trials, objective, direction, trials_at_once)
    planned = Planned(given.config(), seeds, arrival_jitter, bound)
    if wanted.sampler is None:
        study = _grid(planned, grid or (), grid_file, wanted)
    else:
        study = _search(planned, grid or (), grid_file, wanted)
    refuse_contradictions(given.explicit, study.grid.keys)
    run(study, Output(out, as_json, quiet, parquet), executor_of(executor, ray_address, workers))


study_app.command("capacity", cls=Command)(capacity_command)
study_app.command("pareto")(pareto_command)
study_app.command("paper", context_settings=ANY_OPTIONS, hidden=True)(paper_command)


class Planned(NamedTuple):
    """What a grid and a search have in common."""

    base: RunConfig
    seeds: int
    arrival_jitter: float | None
    bounded: bool


class SearchWanted(NamedTuple):
    """The options of a search, None where they were not given."""

    sampler: Sampler | None
    vary: Sequence[str]
    trials: int | None
    objective: str | None
    direction: Direction | None
    at_once: int | None

    @property
    def given(self) -> list[str]:
        """Options that mean nothing without `--search`."""
        options = {
            "--vary": self.vary or None,
            "--trials": self.trials,
            "--objective": self.objective,
            "--direction": self.direction,
            "--trials-at-once": self.at_once,
        }
        return [option for option, value in options.items() if value is not None]


def _grid(
    planned: Planned, grid: Sequence[str], grid_file: Path | None, wanted: SearchWanted
) -> Study:
    from orbitflow.study.grid import read_grid
    from orbitflow.study.study import plan_study

    if wanted.given:
        raise UserError(f"{wanted.given[0]} is for searches: add --search random or optuna")
    return plan_study(
        planned.base,
        read_grid(grid, grid_file),
        seeds=planned.seeds,
        arrival_jitter=planned.arrival_jitter,
        bounded=planned.bounded,
    )


def _search(
    planned: Planned, grid: Sequence[str], grid_file: Path | None, wanted: SearchWanted
) -> Study:
    from orbitflow.study.study import plan_study

    if grid or grid_file is not None:
        raise UserError("--grid and --search are both given: write --vary instead of --grid")
    if planned.bounded:
        raise UserError("--bound is for grids: leave it out, or run the best trial with it")
    search = _read_search(planned.base, wanted)
    return plan_study(
        replace(planned.base, policies=()),
        search.grid,
        seeds=planned.seeds,
        arrival_jitter=planned.arrival_jitter,
        search=search,
    )


def _read_search(base: RunConfig, wanted: SearchWanted) -> Search:
    from orbitflow.study.figures import read_objective
    from orbitflow.study.search import (
        DEFAULT_AT_ONCE,
        DEFAULT_OBJECTIVE,
        DEFAULT_TRIALS,
        Search,
        read_space,
    )
    from orbitflow.study.search_run import check_optuna

    sampler = wanted.sampler
    assert sampler is not None
    if wanted.at_once is not None and sampler is not Sampler.OPTUNA:
        raise UserError("--trials-at-once is for --search optuna: random trials are all known")
    if sampler is Sampler.OPTUNA:
        check_optuna()
    return Search(
        read_space(wanted.vary, base.policies),
        sampler,
        read_objective(wanted.objective or DEFAULT_OBJECTIVE, wanted.direction),
        trials=DEFAULT_TRIALS if wanted.trials is None else wanted.trials,
        seed=base.seed,
        at_once=DEFAULT_AT_ONCE if wanted.at_once is None else wanted.at_once,
    )
