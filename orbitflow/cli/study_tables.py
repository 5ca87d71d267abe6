"""Tables of studies: a row per cell, mean ± half of the 95 % interval over seeds.

Of a grid, a star marks the best of a column among the policies of equal other keys. With bounds, a
row `bound` ends these, and what share of it each policy reaches stands beside its figure. Of a
search, the best trials come first, and the command that runs the best by itself below.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orbitflow.cli.options import arguments_of_sim
from orbitflow.cli.tables import WIDE, console
from orbitflow.results.bound_share import BOUNDED, NOT_COVERED
from orbitflow.results.figures import best_as_written
from orbitflow.study.grid import Cell
from orbitflow.study.keys import POLICY, key_text
from orbitflow.study.policy_names import short_names, shown_policy
from orbitflow.study.search import Search
from orbitflow.study.statistics import Estimate, number, percent, seconds, writer
from orbitflow.study.study import Job, Study
from orbitflow.study.summary import BoundResult, CellResult, best, ranked
from orbitflow.units import format_seconds

_WIDEST = 10_000
_SHOWN_ERRORS = 10
_SHOWN_TRIALS = 20
_PROMISED = frozenset({"profile", "model", "compute_scale"})  # what isolated prefills depend on
_SUPERLATIVE = {"max": "large", "min": "small"}


class MeanColumn(NamedTuple):
    """One figure: its title, its name, how it is written, which way is better, and whether its
    share of the bound is shown.
    """

    title: str
    figure: str
    write: Callable[[Estimate], str]
    best: Callable[[list[float]], float]
    of_bound: bool = False


COLUMNS = (
    MeanColumn("timely %", "timely_share", percent, max, True),
    MeanColumn("SLO %", "slo_attainment", percent, max, True),
    MeanColumn("TTFT %", "ttft_attainment", percent, max),
    MeanColumn("TPOT %", "tpot_attainment", percent, max),
    MeanColumn("goodput, req/s", "goodput_rps", number, max, True),
    MeanColumn("TTFT p95", "ttft_s.p95", seconds, min),
    MeanColumn("makespan", "makespan_s", seconds, min),
)


def print_errors(out: Console, found: Sequence[CellResult]) -> None:
    failed = [result for result in found if result.failed]
    print_some(
        out,
        [
            f"{name_of(r.cell)}: {r.failed} of {r.failed + r.ok} failed; {r.errors[0]}"
            for r in failed
        ],
    )


def print_some(out: Console, lines: Sequence[str]) -> None:
    for line in lines[:_SHOWN_ERRORS]:
        out.print(Text(line, style="red"))
    if len(lines) > _SHOWN_ERRORS:
        out.print(Text(f"... and {len(lines) - _SHOWN_ERRORS} more cells", style="red"))


def name_of(cell: Cell) -> str:
    return ", ".join(f"{key}={value}" for key, value in cell.items) or "all cells"


def print_table(out: Console, table: Table) -> None:
    """Print a table as wide as it is where there is no terminal to fit into."""
    if not out.is_terminal:
        out.width = max(WIDE, width_of(out, table))
    out.print(table)


def width_of(out: Console, table: Table) -> int:
    """How wide a table is if nothing in it is wrapped."""
    return out.measure(table, options=out.options.update(width=_WIDEST)).maximum


def print_notices(study: Study, lines: Sequence[str]) -> None:
    """Say what is about to run, and on which assumptions."""
    scenario = study.scenario
    out = console(stderr=True)
    title = f"{scenario.trace.name} on {scenario.profile.name}: "
    out.print(Text(title + "; ".join(lines)))
    if not {"slo_scale", "slo_tbt_s"} & set(study.grid.keys):
        limit = format_seconds(scenario.slo.tbt_limit_s)
        out.print(Text(f"SLO of all cells: time between tokens {limit} ({scenario.slo.origin})"))
    for notice in dict.fromkeys((*study.notices, *scenario.notices)):
        out.print(Text(f"note: {notice}", style="yellow"))


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
    short = short_names(result.cell.policy for result in found)
    for members in _groups(found):
        best = _best(members)
        starred = starred or bool(best)
        for result in members:
            named = [Text(key_text(key, result.cell.values[key])) for key in keys[:-1]]
            policy = result.cell.policy
            named.append(Text(shown_policy(policy, short[policy])))
            table.add_row(*named, *_cells(result, best))
        if (bound := members[0].bound) is not None:
            values = {**members[0].cell.values, POLICY: "bound"}
            named = [Text(key_text(key, values[key])) for key in keys]
            table.add_row(*named, *_bound_cells(bound), style="italic")
        if len(members) > 1 or study.bounded:
            table.add_section()
    out = console()
    print_table(out, table)
    print_errors(out, found)
    _print_unbounded(out, found)
    star = "* the best policy, all else equal; " if starred else ""
    out.print(Text(f"{star}results in {path}"))


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


def _mean_of(column: MeanColumn, mean: float) -> str:
    """How a column writes a mean without its interval."""
    return column.write(Estimate(mean, None))


def _print_unbounded(out: Console, found: Sequence[CellResult]) -> None:
    """Say where no bound is known, and whose share of it is not."""
    bounds = [(result.cell, result.bound) for result in found if result.bound is not None]
    missing = {name_of(cell.group): bound.error for cell, bound in bounds if bound.error}
    print_some(out, [f"{cell}: no bound; {error}" for cell, error in missing.items()])
    if names := dict.fromkeys(cell.policy for cell, bound in bounds if bound.share is None):
        out.print(Text(f"no share of the bound for {', '.join(names)}: {NOT_COVERED}"))


def print_search(study: Study, found: Sequence[CellResult], path: Path) -> None:
    """Print the best trials, the best configuration as a command, and where the results are."""
    search = study.search
    assert search is not None
    first = best(study, found)
    out = console()
    print_table(out, _fitting(out, study, found))
    print_errors(out, found)
    if len(found) > _SHOWN_TRIALS:
        out.print(Text(f"the best {_SHOWN_TRIALS} of {len(found)} trials; all are in {path}"))
    if first is None:
        out.print(Text(f"no trial has {search.objective.figure}; results in {path}"))
        return
    out.print(Text(f"* the best trial; results in {path}"))
    _print_command(out, study, first)


def _fitting(out: Console, study: Study, found: Sequence[CellResult]) -> Table:
    """The table with as many figures as a terminal has room for, the one looked for at least."""
    assert study.search is not None
    columns = _columns(study.search)
    table = _trials(study, found, columns)
    while out.is_terminal and len(columns) > 1 and width_of(out, table) > out.width:
        columns = columns[:-1]
        table = _trials(study, found, columns)
    return table


def _trials(study: Study, found: Sequence[CellResult], columns: Sequence[MeanColumn]) -> Table:
    scenario, first = study.scenario, best(study, found)
    axes = [axis for axis in study.grid.axes if len(axis.values) > 1 or axis.key != POLICY]
    short = short_names(result.cell.policy for result in found)
    values_of_one = [str(axis.values[0]) for axis in study.grid.axes if axis not in axes]
    fixed = [short.get(value, value) for value in values_of_one]
    title = ", ".join((f"{scenario.trace.name} on {scenario.profile.name}", *fixed))
    table = Table(title=Text(f"{title}: {_searched(study, found)}"), title_justify="left")
    for axis in axes:
        table.add_column(axis.key, no_wrap=True)
    for column in columns:
        table.add_column(column.title, justify="right")
    for result in ranked(study, found)[:_SHOWN_TRIALS]:
        values = result.cell.values
        texts = [key_text(axis.key, values[axis.key]) for axis in axes]
        named = [Text(short.get(text, text)) for text in texts]
        style = "bold green" if result is first else None
        table.add_row(*named, *_trial_cells(result, columns, is_best=result is first), style=style)
    return table


def _searched(study: Study, found: Sequence[CellResult]) -> str:
    search = study.search
    assert search is not None
    goal = f"{search.objective.figure} as {_SUPERLATIVE[str(search.objective.direction)]}"
    seeds = f" x {study.seeds} seeds, mean ± half of the 95 % interval" * (study.seeds > 1)
    return f"{goal} as possible, {len(found)} trials by {search.sampler}{seeds}"


def _columns(search: Search) -> list[MeanColumn]:
    """What is looked for comes first."""
    figure = search.objective.figure
    known = [column for column in COLUMNS if column.figure == figure]
    sought = known or [MeanColumn(figure, figure, writer(figure), max)]
    return [*sought, *(column for column in COLUMNS if column.figure != figure)]


def _trial_cells(result: CellResult, columns: Sequence[MeanColumn], *, is_best: bool) -> list[Text]:
    cells = []
    for place, column in enumerate(columns):
        value = result.figures.get(column.figure)
        if value is None:
            cells.append(Text("failed" if not result.ok else "n/a", style="dim"))
        else:
            cells.append(Text(column.write(value) + " *" * (is_best and not place)))
    return cells


def _print_command(out: Console, study: Study, first: CellResult) -> None:
    """On one line, to be copied, however narrow the terminal is."""
    job = Job(first.cell, study.base.seed)
    words = arguments_of_sim(study.config(job), tbt_limit_s=study.slo(job).tbt_limit_s)
    out.print(Text("to run it by itself, under the study's limit on the time between tokens:"))
    if not _PROMISED.isdisjoint(study.grid.keys):
        out.print(Text("(its TTFT limits are then its own machine's, not those of the base)"))
    out.print(Text("  " + shlex.join(["orbitflow", "sim", *words])), soft_wrap=True)
