"""The tables of `orbitflow study paper`: published numbers beside ours, one table per figure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.paper.compare import Compared, Verdict
from benchmarks.paper.experiments import Figure, Named
from benchmarks.paper.measured import Measured
from benchmarks.paper.points import Point
from benchmarks.paper.report import shown, value_of
from benchmarks.paper.systems import System
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDE = 120
_NARROW = 110  # no room for what a number is about: paper.md has it


def print_study(
    figures: Sequence[Figure], measured: Measured, rows: Sequence[Compared], path: Path
) -> None:
    """Print everything that fits on a screen's width; the rest is in `paper.md`."""
    console = Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False)
    for figure in figures:
        console.print(_of_metrics(figure, measured) if len(figure.columns) == 1
                      else _of_columns(figure, measured))  # fmt: skip
    console.print(_comparison(rows, console.width >= _NARROW))
    for row in rows:
        if row.verdict is not Verdict.AGREES:
            console.print(Text(f"{row.published.key}: {row.sentence}"), soft_wrap=False)
    console.print(Text(f"intervals, every figure and the sentences in {path}/paper.md"))


def _of_columns(figure: Figure, measured: Measured) -> Table:
    first, second = figure.metrics[:2]
    table = Table(title=Text(f"{figure.title}: {first.title} | {second.title}"))
    table.title_justify = "left"
    table.add_column("", no_wrap=True)
    for label in figure.columns:
        table.add_column(label, justify="right")
    for section, columns in figure.sections:
        if section:
            table.add_row(Text(section, style="italic"))
        for system in figure.systems:
            cells = [_pair(figure, measured, system, named) for named in columns]
            table.add_row(_name(system), *cells)
        table.add_section()
    return table


def _pair(figure: Figure, measured: Measured, system: System, named: Named) -> Text:
    point = Point(system, named.setting)
    values = [m.write(value_of(measured, point, m), halves=False) for m in figure.metrics[:2]]
    return Text(f"{values[0]:>5} | {values[1]:>5}")


def _of_metrics(figure: Figure, measured: Measured) -> Table:
    table = Table(title=Text(figure.title), title_justify="left")
    table.add_column("", no_wrap=True)
    for metric in figure.metrics:
        table.add_column(metric.title, justify="right")
    ((_, (column,)),) = figure.sections
    for system in figure.systems:
        point = Point(system, column.setting)
        cells = [m.write(value_of(measured, point, m), halves=False) for m in figure.metrics]
        table.add_row(_name(system), *cells)
    return table


def _comparison(rows: Sequence[Compared], wide: bool) -> Table:
    table = Table(title=Text("Published numbers beside ours"), title_justify="left")
    table.add_column("number", no_wrap=True)
    if wide:
        table.add_column("what")
    for title in ("published", "ours, its way", "ours, fair"):
        table.add_column(title, justify="right")
    table.add_column("agrees")
    for row in rows:
        named = [row.published.key, row.published.what][: 1 + wide]
        cells = [row.published.shown, shown(row.papers), shown(row.fair), str(row.verdict)]
        table.add_row(*named, *cells)
    return table


def _name(system: System) -> Text:
    return Text(system.title, style="bold" if system.is_ours else "")
