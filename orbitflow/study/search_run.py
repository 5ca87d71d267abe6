"""Runs a search: all trials at once where they are known, else batch by batch, each proposed when
the one before has ended.

What a folder has rows for is not run again but told again, so that a search which was cut off goes
on as if it had not been. Trials that failed are tried again; should one end well then, what follows
it may be proposed anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from orbitflow.study.folder import StudyFolder
from orbitflow.study.keys import Sampler
from orbitflow.study.runner import run_on
from orbitflow.study.stored import Row
from orbitflow.study.study import Job, Study
from orbitflow.study.summary import results
from orbitflow.study.worker import StudyExecutor


def run_search(
    executor: StudyExecutor[Job],
    study: Study,
    folder: StudyFolder,
    *,
    on_row: Callable[[Row], None],
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
