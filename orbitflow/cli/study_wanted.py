"""A study from the options of `orbitflow study run`: those of a grid and those of a search exclude
each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from orbitflow.config import RunConfig
from orbitflow.errors import UserError
from orbitflow.study.figures import read_objective
from orbitflow.study.grid import read_grid
from orbitflow.study.keys import Direction, Sampler
from orbitflow.study.search import (
    DEFAULT_AT_ONCE,
    DEFAULT_OBJECTIVE,
    DEFAULT_TRIALS,
    Search,
    read_space,
)
from orbitflow.study.search_run import check_optuna
from orbitflow.study.study import Study, plan_study


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


def plan_wanted(
    base: RunConfig,
    grid: Sequence[str],
    grid_file: Path | None,
    wanted: SearchWanted,
    *,
    seeds: int,
    arrival_jitter: float | None,
    bounded: bool,
) -> Study:
    """Plan a grid, or a search where one is wanted. Raise a UserError for options of both."""
    if wanted.sampler is None:
        if wanted.given:
            raise UserError(f"{wanted.given[0]} is for searches: add --search random or optuna")
        axes = read_grid(grid, grid_file)
        return plan_study(base, axes, seeds=seeds, arrival_jitter=arrival_jitter, bounded=bounded)
    if grid or grid_file is not None:
        raise UserError("--grid and --search are both given: write --vary instead of --grid")
    if bounded:
        raise UserError("--bound is for grids: leave it out, or run the best trial with it")
    search = _search(base, wanted, wanted.sampler)
    return plan_study(
        replace(base, policies=()),
        search.grid,
        seeds=seeds,
        arrival_jitter=arrival_jitter,
        search=search,
    )


def _search(base: RunConfig, wanted: SearchWanted, sampler: Sampler) -> Search:
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
