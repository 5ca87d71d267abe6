"""The table of a search: its best trials first, and the command that runs the best by itself."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orbitflow.cli.options_of_sim import arguments_of_sim
from orbitflow.cli.study_columns import (
    COLUMNS,
    Column,
    console_of,
    key_text,
    print_errors,
    print_table,
    rate,
)
from orbitflow.study.plan import Job, Study
from orbitflow.study.search import Search
from orbitflow.study.summary import CellResult, best, ranked

_SHOWN = 20


def print_search(study: Study, found: Sequence[CellResult], path: Path) -> None:
    """Print the best trials, the best configuration as a command, and where the results are."""
    search, scenario = study.search, study.scenario
    assert search is not None
    columns = _columns(search)
    first = best(study, found)
    title = f"{scenario.trace.name} on {scenario.profile.name}: {_searched(study, found)}"
    table = Table(title=Text(title), title_justify="left")
    for key in study.grid.keys:
        table.add_column(key, no_wrap=True)
    for column in columns:
        table.add_column(column.title, justify="right")
    for result in ranked(study, found)[:_SHOWN]:
        named = [key_text(key, result.cell.values[key]) for key in study.grid.keys]
        style = "bold green" if result is first else None
        table.add_row(*named, *_cells(result, columns, is_best=result is first), style=style)
    console = console_of()
    print_table(console, table)
    print_errors(console, found)
    if len(found) > _SHOWN:
        console.print(Text(f"the best {_SHOWN} of {len(found)} trials; all are in {path}"))
    if first is None:
        console.print(Text(f"no trial has {search.objective.figure}; results in {path}"))
        return
    console.print(Text(f"* the best trial; results in {path}"))
    _print_command(console, study, first)


def _searched(study: Study, found: Sequence[CellResult]) -> str:
    search = study.search
    assert search is not None
    goal = f"{search.objective.figure} as {_SUPERLATIVE[str(search.objective.direction)]}"
    seeds = f" x {study.seeds} seeds, mean ± half of the 95 % interval" * (study.seeds > 1)
    return f"{goal} as possible, {len(found)} trials by {search.sampler}{seeds}"


_SUPERLATIVE = {"max": "large", "min": "small"}


def _columns(search: Search) -> list[Column]:
    """What is looked for comes first."""
    figure = search.objective.figure
    known = [column for column in COLUMNS if column.figure == figure]
    sought = known or [Column(figure, figure, rate, max)]
    return [*sought, *(column for column in COLUMNS if column.figure != figure)]


def _cells(result: CellResult, columns: Sequence[Column], *, is_best: bool) -> list[Text]:
    cells = []
    for number, column in enumerate(columns):
        value = result.figures.get(column.figure)
        if value is None:
            cells.append(Text("failed" if not result.ok else "n/a", style="dim"))
        else:
            cells.append(Text(column.write(value) + " *" * (is_best and not number)))
    return cells


def _print_command(console: Console, study: Study, first: CellResult) -> None:
    """On one line, to be copied, however narrow the terminal is."""
    job = Job(first.cell, study.base.seed)
    words = arguments_of_sim(study.config(job), tau_s=study.slo(job).tau_s)
    console.print(Text("to run it by itself, under the study's limit on the time between tokens:"))
    console.print(Text("  " + shlex.join(["orbitflow", "sim", *words])), soft_wrap=True)
