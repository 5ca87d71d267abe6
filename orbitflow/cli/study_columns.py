"""What the tables of studies share: the figures that they show, and where the tables go."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.console import Console, ConsoleOptions
from rich.table import Table
from rich.text import Text

from orbitflow.study.grid import Cell
from orbitflow.study.statistics import Estimate, number, percent, seconds
from orbitflow.study.summary import CellResult

_WIDE, _WIDEST = 120, 10_000
_SHOWN_ERRORS = 10


class Column(NamedTuple):
    """One figure: its title, its name, how it is written, which way is better, and whether its
    share of the bound is shown.
    """

    title: str
    figure: str
    write: Callable[[Estimate], str]
    best: Callable[[list[float]], float]
    of_bound: bool = False


COLUMNS = (
    Column("timely %", "timely_share", percent, max, True),
    Column("SLO %", "slo_attainment", percent, max, True),
    Column("TTFT %", "ttft_attainment", percent, max),
    Column("TPOT %", "tpot_attainment", percent, max),
    Column("goodput, req/s", "goodput_rps", number, max, True),
    Column("TTFT p95", "ttft_s.p95", seconds, min),
    Column("makespan", "makespan_s", seconds, min),
)


def print_errors(console: Console, found: Sequence[CellResult]) -> None:
    failed = [result for result in found if result.failed]
    print_some(
        console,
        [
            f"{name_of(r.cell)}: {r.failed} of {r.failed + r.ok} failed; {r.errors[0]}"
            for r in failed
        ],
    )


def print_some(console: Console, lines: Sequence[str]) -> None:
    for line in lines[:_SHOWN_ERRORS]:
        console.print(Text(line, style="red"))
    if len(lines) > _SHOWN_ERRORS:
        console.print(Text(f"... and {len(lines) - _SHOWN_ERRORS} more cells", style="red"))


def name_of(cell: Cell) -> str:
    return ", ".join(f"{key}={value}" for key, value in cell.items) or "all cells"


def _unlimited(console: Console) -> ConsoleOptions:
    return console.options.update(width=_WIDEST)


def console_of(*, stderr: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else _WIDE, highlight=False)


def print_table(console: Console, table: Table) -> None:
    """Print a table as wide as it is where there is no terminal to fit into."""
    if not console.is_terminal:
        console.width = max(_WIDE, width_of(console, table))
    console.print(table)


def width_of(console: Console, table: Table) -> int:
    """How wide a table is if nothing in it is wrapped."""
    return console.measure(table, options=_unlimited(console)).maximum
