"""Runs a search: all trials at once where they are known, else batch by batch.

Optuna is asked for a batch, then told what became of all of it, in order. Its state is a function
of what was asked and told, so a study that goes on asks and tells again what its rows say, and does
not run it again. A proposal that was made before is told its value and replaced. Trials that failed
are tried again; should one end well then, what follows it may be proposed anew.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from orbitflow.errors import UserError, how_to_install
from orbitflow.study.folder import StudyFolder
from orbitflow.study.grid import Cell
from orbitflow.study.keys import Direction, Sampler, Value
from orbitflow.study.runner import run_on
from orbitflow.study.search import Choices, Domain, NumberRange, Search
from orbitflow.study.stored import Row
from orbitflow.study.study import Study
from orbitflow.study.summary import results
from orbitflow.study.worker import StudyExecutor

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

_MOST_REPEATS = 50  # of a batch; then Optuna is done


def check_optuna() -> None:
    """Raise a UserError if Optuna is missing, before anything is made for it."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise UserError(
            f"--search optuna needs Optuna: {how_to_install('search')}, or --search random"
        ) from None


def run_search(
    executor: StudyExecutor, study: Study, folder: StudyFolder, *, on_row: Callable[[Row], None]
) -> Study:
    """Run what is missing of a search. Give the study with all of its trials."""
    search = study.search
    assert search is not None
    if search.sampler is not Sampler.OPTUNA:
        run_on(executor, study, folder, on_row=on_row)
        return study
    proposals = Proposals(search)
    study = replace(study, trials=())
    while cells := proposals.ask():
        batch = replace(study, trials=tuple(cells))
        run_on(executor, batch, folder, on_row=on_row)
        found = results(batch, folder.rows)
        proposals.tell({r.cell.id: search.objective.of(r.figures) for r in found})
        study = replace(study, trials=(*study.trials, *cells))
    return study


class Proposals:
    """What Optuna asks to have tried next."""

    def __init__(self, search: Search) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._search = search
        self._pending: list[tuple[Trial, Cell]] = []
        self._known: dict[str, float | None] = {}
        self._domains = {k: _distribution(domain) for k, domain in search.space.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # constant_liar was called experimental before 5
            sampler = optuna.samplers.TPESampler(
                seed=search.seed, constant_liar=True, n_startup_trials=10
            )
        largest = search.objective.direction is Direction.MAX
        self._study = optuna.create_study(
            sampler=sampler, direction="maximize" if largest else "minimize"
        )
        self._failed = optuna.trial.TrialState.FAIL

    def ask(self) -> list[Cell]:
        """The next cells, none of them seen before; empty when the search is over."""
        wanted = min(self._search.at_once, self._search.most - len(self._known))
        repeats = 0
        while len(self._pending) < wanted and repeats < _MOST_REPEATS:
            trial = self._study.ask(self._domains)
            cell = self._cell(trial.params)
            if cell.id in self._known or cell.id in (c.id for _, c in self._pending):
                repeats += 1
                self._tell(trial, self._known.get(cell.id))
            else:
                self._pending.append((trial, cell))
        return [cell for _, cell in self._pending]

    def tell(self, values: Mapping[str, float | None]) -> None:
        """What became of the cells that were asked for, by id; None: it failed."""
        for trial, cell in self._pending:
            value = values.get(cell.id)
            self._known[cell.id] = value
            self._tell(trial, value)
        self._pending.clear()

    def _tell(self, trial: Trial, value: float | None) -> None:
        if value is None:
            self._study.tell(trial, state=self._failed)
        else:
            self._study.tell(trial, value)

    def _cell(self, values: Mapping[str, Value]) -> Cell:
        items = []
        for key, domain in self._search.space.items():
            value = values[key]
            if isinstance(domain, NumberRange):
                value = domain.settled(float(value))
            items.append((key, value))
        return Cell(tuple(items))


def _distribution(domain: Domain) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(domain, Choices):
        return CategoricalDistribution(domain.values)
    if domain.is_whole:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.is_log)
    return FloatDistribution(domain.low, domain.high, log=domain.is_log)
