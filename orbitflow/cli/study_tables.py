"""The table of a study: a row per cell, mean ± half of the 95 % interval over seeds.

A star marks the best of a column among the policies of equal other keys. With bounds, a row `bound`
ends these, and what share of it each policy reaches stands beside its figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orbitflow.policy.registry import make_policy
from orbitflow.results.bound_share import BOUNDED, NOT_COVERED
from orbitflow.results.figures import best_as_written
from orbitflow.study.keys import POLICY, key_text
from orbitflow.study.statistics import Estimate, percent
from orbitflow.study.study import Study
from orbitflow.study.summary import BoundResult, CellResult
from orbitflow.units import format_seconds


def print_notices(study: Study, lines: Sequence[str]) -> None:
    """Say what is about to run, and on which assumptions."""
    scenario = study.scenario
    console = console_of(stderr=True)
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
    for column in COLUMNS:
        table.add_column(column.title, justify="right")
        if study.bounded and column.of_bound:
            table.add_column("of bound %", justify="right")
    starred = False
    for members in _groups(found):
        best = _best(members)
        starred = starred or bool(best)
        for result in members:
            named = [Text(key_text(key, result.cell.values[key])) for key in keys]
            if make_policy(str(result.cell.values[POLICY])).is_lossy:
                named[-1].append(" (lossy)")
            table.add_row(*named, *_cells(result, best))
        if (bound := members[0].bound) is not None:
            values = {**members[0].cell.values, POLICY: "bound"}
            named = [Text(key_text(key, values[key])) for key in keys]
            table.add_row(*named, *_bound_cells(bound), style="italic")
        if len(members) > 1 or study.bounded:
            table.add_section()
    console = console_of()
    print_table(console, table)
    print_errors(console, found)
    _print_unbounded(console, found)
    star = "* the best policy, all else equal; " if starred else ""
    console.print(Text(f"{star}results in {path}"))


def _cells(result: CellResult, best: Mapping[str, str]) -> list[Text]:
    cells = []
    for column in COLUMNS:
        value = result.figures.get(column.figure)
        if value is None:
            cells.append(Text("failed" if not result.ok else "n/a", style="dim"))
        elif best.get(column.figure) == _mean_of(column, value.mean):
            cells.append(Text(column.write(value) + " *", style="bold green"))
        else:
            cells.append(Text(column.write(value)))
        if column.of_bound and result.bound is not None:
            share = (result.bound.share or {}).get(column.figure)
            cells.append(Text("n/a", style="dim") if share is None else Text(percent(share)))
    return cells


def _bound_cells(bound: BoundResult) -> list[Text]:
    """The figures that are bounded; the others stay empty."""
    cells = []
    for column in COLUMNS:
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


def _best(members: Sequence[CellResult]) -> dict[str, str]:
    """The best mean of each column, as written, where policies differ in it."""
    best = {}
    for column in COLUMNS:
        known = [r.figures[column.figure].mean for r in members if column.figure in r.figures]
        text = best_as_written(known, partial(_mean_of, column), column.best)
        if text is not None:
            best[column.figure] = text
    return best


def _mean_of(column: FigureColumn, mean: float) -> str:
    """How a column writes a mean without its interval."""
    return column.write(Estimate(mean, None))


def _print_unbounded(console: Console, found: Sequence[CellResult]) -> None:
    """Say where no bound is known, and whose share of it is not."""
    bounds = [(result.cell, result.bound) for result in found if result.bound is not None]
    missing = {name_of(cell.group): bound.error for cell, bound in bounds if bound.error}
    print_some(console, [f"{cell}: no bound; {error}" for cell, error in missing.items()])
    if names := dict.fromkeys(cell.policy for cell, bound in bounds if bound.share is None):
        console.print(Text(f"no share of the bound for {', '.join(names)}: {NOT_COVERED}"))
