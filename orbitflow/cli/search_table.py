"""The table of a search: its best trials first, and the command that runs the best by itself."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orbitflow.cli.options import arguments_of_sim
from orbitflow.cli.study_tables import (
    COLUMNS,
    FigureColumn,
    console_of,
    print_errors,
    print_table,
    width_of,
)
from orbitflow.study.keys import POLICY, key_text
from orbitflow.study.search import Search
from orbitflow.study.statistics import writer
from orbitflow.study.study import Job, Study
from orbitflow.study.summary import CellResult, best, ranked

_SHOWN = 20
_PROMISED = frozenset({"profile", "model", "compute_scale"})  # what isolated prefills depend on


def print_search(study: Study, found: Sequence[CellResult], path: Path) -> None:
    """Print the best trials, the best configuration as a command, and where the results are."""
    search = study.search
    assert search is not None
    first = best(study, found)
    console = console_of()
    print_table(console, _fitting(console, study, found))
    print_errors(console, found)
    if len(found) > _SHOWN:
        console.print(Text(f"the best {_SHOWN} of {len(found)} trials; all are in {path}"))
    if first is None:
        console.print(Text(f"no trial has {search.objective.figure}; results in {path}"))
        return
    console.print(Text(f"* the best trial; results in {path}"))
    _print_command(console, study, first)


def _fitting(console: Console, study: Study, found: Sequence[CellResult]) -> Table:
    """The table with as many figures as a terminal has room for, the one looked for at least."""
    assert study.search is not None
    columns = _columns(study.search)
    table = _table(study, found, columns)
    while console.is_terminal and len(columns) > 1 and width_of(console, table) > console.width:
        columns = columns[:-1]
        table = _table(study, found, columns)
    return table


def _table(study: Study, found: Sequence[CellResult], columns: Sequence[FigureColumn]) -> Table:
    scenario, first = study.scenario, best(study, found)
    axes = [axis for axis in study.grid.axes if len(axis.values) > 1 or axis.key != POLICY]
    fixed = [str(axis.values[0]) for axis in study.grid.axes if axis not in axes]
    title = ", ".join((f"{scenario.trace.name} on {scenario.profile.name}", *fixed))
    table = Table(title=Text(f"{title}: {_searched(study, found)}"), title_justify="left")
    for axis in axes:
        table.add_column(axis.key, no_wrap=True)
    for column in columns:
        table.add_column(column.title, justify="right")
    for result in ranked(study, found)[:_SHOWN]:
        named = [Text(key_text(axis.key, result.cell.values[axis.key])) for axis in axes]
        style = "bold green" if result is first else None
        table.add_row(*named, *_cells(result, columns, is_best=result is first), style=style)
    return table


def _searched(study: Study, found: Sequence[CellResult]) -> str:
    search = study.search
    assert search is not None
    goal = f"{search.objective.figure} as {_SUPERLATIVE[str(search.objective.direction)]}"
    seeds = f" x {study.seeds} seeds, mean ± half of the 95 % interval" * (study.seeds > 1)
    return f"{goal} as possible, {len(found)} trials by {search.sampler}{seeds}"


_SUPERLATIVE = {"max": "large", "min": "small"}


def _columns(search: Search) -> list[FigureColumn]:
    """What is looked for comes first."""
    figure = search.objective.figure
    known = [column for column in COLUMNS if column.figure == figure]
    sought = known or [FigureColumn(figure, figure, writer(figure), max)]
    return [*sought, *(column for column in COLUMNS if column.figure != figure)]


def _cells(result: CellResult, columns: Sequence[FigureColumn], *, is_best: bool) -> list[Text]:
    cells = []
    for place, column in enumerate(columns):
        value = result.figures.get(column.figure)
        if value is None:
            cells.append(Text("failed" if not result.ok else "n/a", style="dim"))
        else:
            cells.append(Text(column.write(value) + " *" * (is_best and not place)))
    return cells


def _print_command(console: Console, study: Study, first: CellResult) -> None:
    """On one line, to be copied, however narrow the terminal is."""
    job = Job(first.cell, study.base.seed)
    words = arguments_of_sim(study.config(job), tau_s=study.slo(job).tau_s)
    console.print(Text("to run it by itself, under the study's limit on the time between tokens:"))
    if not _PROMISED.isdisjoint(study.grid.keys):
        console.print(Text("(its TTFT limits are then its own machine's, not those of the base)"))
    console.print(Text("  " + shlex.join(["orbitflow", "sim", *words])), soft_wrap=True)
