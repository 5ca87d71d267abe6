"""A report, from folders to one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from orbitflow.report.chart import check_libraries
from orbitflow.report.read_runs import ReportInputs, read_inputs
from orbitflow.report.sections import sections


class Report(NamedTuple):
    """A page, and what whoever asked for it should be told."""

    html: str
    notices: tuple[str, ...]


def make_report(paths: Sequence[Path]) -> Report:
    """Read these folders of runs and studies and make one page of them.

    Raise a UserError if one cannot be read, is of another schema version, or if what draws is not
    installed.
    """
    check_libraries()
    inputs = read_inputs(paths)
    notices = _notices(inputs)
    return Report(page(list(sections(inputs)), notices), notices)


def _notices(inputs: ReportInputs) -> tuple[str, ...]:
    notices = []
    slos = {run.slo for run in inputs.runs}
    if len(slos) > 1:
        notices.append(
            f"these runs were judged by {len(slos)} different SLOs: each has its own section, and "
            "figures of different sections are not to be ranked"
        )
    notices += [
        f"{run.label} is INCOMPLETE: {run.unfinished}"
        for run in inputs.runs
        if run.unfinished is not None
    ]
    notices += [
        f"{study.label} has {study.missing}: it has not finished"
        for study in inputs.studies
        if study.missing is not None
    ]
    return tuple(notices)
