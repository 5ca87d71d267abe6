"""The table of a study: a row per cell, mean ± half of the 95 % interval over seeds.

A star marks the best of a column among the policies of equal other keys. With bounds, a row `bound`
ends these, and what share of it each policy reaches stands beside its figure.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console, ConsoleOptions
from rich.table import Table
from rich.text import Text

from orbitflow.bound_share import BOUNDED, NOT_COVERED
from orbitflow.policy.registry import make_policy
from orbitflow.study.bounds import BoundResult
from orbitflow.study.estimates import Estimate
from orbitflow.study.grid import Cell
from orbitflow.study.keys import POLICY, Value
from orbitflow.study.plan import Study
from orbitflow.study.summary import CellResult
from orbitflow.units import format_bytes, format_seconds

_WIDE, _WIDEST = 120, 10_000
_SHOWN_ERRORS = 10
_SECONDS = ((3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


class _Column(NamedTuple):
    """One figure: its title, its name, how it is written, which way is better, and whether its
    share of the bound is shown.
    """

    title: str
    figure: str
    write: Callable[[Estimate], str]
    best: Callable[[list[float]], float]
    of_bound: bool = False


def _percent(value: Estimate) -> str:
    return _pair(100 * value.mean, _times(value.half_width, 100), ".1f")


def _rate(value: Estimate) -> str:
    return _pair(value.mean, value.half_width, ".3g")


def _time(value: Estimate) -> str:
    size, unit = next((s for s in _SECONDS if value.mean >= s[0]), _SECONDS[-1])
    return f"{_pair(value.mean / size, _times(value.half_width, 1 / size), '.3g')} {unit}"


def _times(half_width: float | None, factor: float) -> float | None:
    return None if half_width is None else half_width * factor


def _pair(mean: float, half_width: float | None, form: str) -> str:
    text = format(mean, form)
    if half_width is None:
        return text
    half = format(half_width, form if form.endswith("f") else ".1g")
    return f"{text} ± {half}"


_COLUMNS = (
    _Column("timely %", "timely_share", _percent, max, True),
    _Column("SLO %", "slo_attainment", _percent, max, True),
    _Column("TTFT %", "ttft_attainment", _percent, max),
    _Column("TPOT %", "tpot_attainment", _percent, max),
    _Column("goodput, req/s", "goodput_rps", _rate, max, True),
    _Column("TTFT p95", "ttft_s.p95", _time, min),
    _Column("makespan", "makespan_s", _time, min),
)


def print_notices(study: Study, lines: Sequence[str]) -> None:
    """Say what is about to run, and on which assumptions."""
    scenario = study.scenario
    console = _console(stderr=True)
    title = f"{scenario.trace.name} on {scenario.profile.name}: "
    console.print(Text(title + "; ".join(lines)))
    if not {"slo_scale", "slo_tbt_s"} & set(study.grid.keys):
        tau = format_seconds(scenario.slo.tau_s)
        console.print(Text(f"SLO of all cells: time between tokens {tau} ({scenario.slo.origin})"))
    for notice in dict.fromkeys((*study.notices, *scenario.notices)):
        console.print(Text(f"note: {notice}", style="yellow"))


def print_results(study: Study, found: Sequence[CellResult], path: Path) -> None:
    """Print a row per cell and where the results are."""
    scenario = study.scenario
    title = f"{scenario.trace.name} on {scenario.profile.name}"
    if study.seeds > 1:
        title += f", mean ± half of the 95 % interval over {study.seeds} seeds"
    table = Table(title=Text(title), title_justify="left")
    keys = [*(key for key in study.grid.keys if key != POLICY), POLICY]
    for key in keys:
        table.add_column(key, no_wrap=True)
    for column in _COLUMNS:
        table.add_column(column.title, justify="right")
        if study.bounded and column.of_bound:
            table.add_column("of bound %", justify="right")
    starred = False
    for members in _groups(found):
        best = _best(members)
        starred = starred or bool(best)
        for result in members:
            named = [_key(key, result.cell.values[key]) for key in keys]
            if make_policy(str(result.cell.values[POLICY])).is_lossy:
                named[-1].append(" (lossy)")
            table.add_row(*named, *_cells(result, best))
        if (bound := members[0].bound) is not None:
            named = [_key(key, {**members[0].cell.values, POLICY: "bound"}[key]) for key in keys]
            table.add_row(*named, *_bound_cells(bound), style="italic")
        if len(members) > 1 or study.bounded:
            table.add_section()
    console = _console()
    if not console.is_terminal:  # nothing to fit into: as wide as it is
        console.width = max(_WIDE, console.measure(table, options=_unlimited(console)).maximum)
    console.print(table)
    _print_errors(console, found)
    _print_unbounded(console, found)
    star = "* the best policy, all else equal; " if starred else ""
    console.print(Text(f"{star}results in {path}"))


def _cells(result: CellResult, best: Mapping[str, float]) -> list[Text]:
    cells = []
    for column in _COLUMNS:
        value = result.figures.get(column.figure)
        if value is None:
            cells.append(Text("failed" if not result.ok else "n/a", style="dim"))
        elif best.get(column.figure) == value.mean:
            cells.append(Text(column.write(value) + " *", style="bold green"))
        else:
            cells.append(Text(column.write(value)))
        if column.of_bound and result.bound is not None:
            share = (result.bound.share or {}).get(column.figure)
            cells.append(Text("n/a", style="dim") if share is None else Text(_percent(share)))
    return cells


def _bound_cells(bound: BoundResult) -> list[Text]:
    """The figures that are bounded; the others stay empty."""
    cells = []
    for column in _COLUMNS:
        value = bound.figures.get(column.figure)
        if value is not None:
            cells.append(Text(column.write(value)))
        elif column.figure in BOUNDED:
            cells.append(Text("failed" if bound.error else "n/a", style="dim"))
        else:
            cells.append(Text())
        if column.of_bound:
            cells.append(Text())
    return cells


def _groups(found: Sequence[CellResult]) -> list[list[CellResult]]:
    """Cells that differ in nothing but their policy."""
    groups: dict[str, list[CellResult]] = {}
    for result in found:
        groups.setdefault(result.cell.group.id, []).append(result)
    return list(groups.values())


def _best(members: Sequence[CellResult]) -> dict[str, float]:
    """The best mean of each column where policies differ in it."""
    best = {}
    for column in _COLUMNS:
        known = [r.figures[column.figure].mean for r in members if column.figure in r.figures]
        if len(set(known)) > 1:
            best[column.figure] = column.best(known)
    return best


def _key(key: str, value: Value) -> Text:
    if key.endswith("_bytes"):
        return Text(format_bytes(float(value)))
    if key.endswith("_s"):
        return Text(format_seconds(float(value)))
    return Text(f"{value:g}" if isinstance(value, float) else str(value))


def _print_errors(console: Console, found: Sequence[CellResult]) -> None:
    failed = [result for result in found if result.failed]
    _print_some(
        console,
        [f"{_name(r.cell)}: {r.failed} of {r.failed + r.ok} failed; {r.errors[0]}" for r in failed],
    )


def _print_unbounded(console: Console, found: Sequence[CellResult]) -> None:
    """Say where no bound is known, and whose share of it is not."""
    bounds = [(result.cell, result.bound) for result in found if result.bound is not None]
    missing = {_name(cell.group): bound.error for cell, bound in bounds if bound.error}
    _print_some(console, [f"{cell}: no bound; {error}" for cell, error in missing.items()])
    if names := dict.fromkeys(cell.policy for cell, bound in bounds if bound.share is None):
        console.print(Text(f"no share of the bound for {', '.join(names)}: {NOT_COVERED}"))


def _print_some(console: Console, lines: Sequence[str]) -> None:
    for line in lines[:_SHOWN_ERRORS]:
        console.print(Text(line, style="red"))
    if len(lines) > _SHOWN_ERRORS:
        console.print(Text(f"... and {len(lines) - _SHOWN_ERRORS} more cells", style="red"))


def _name(cell: Cell) -> str:
    return ", ".join(f"{key}={value}" for key, value in cell.items) or "all cells"


def _unlimited(console: Console) -> ConsoleOptions:
    return console.options.update(width=_WIDEST)


def _console(*, stderr: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else _WIDE, highlight=False)
