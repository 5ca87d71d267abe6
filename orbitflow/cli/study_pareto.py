"""`orbitflow study pareto`: the cells of a study that no other beats in everything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orbitflow.cli.options import AsJson

if TYPE_CHECKING:
    from rich.text import Text

    from orbitflow.study.pareto import Criterion, Front
    from orbitflow.study.stored import StoredCell, StoredStudy

_FIGURES = "Figures"


def pareto_command(
    folder: Annotated[Path, typer.Argument(help="The folder of a study, finished or not.")],
    x: Annotated[
        str | None,
        typer.Option(
            help="A figure, better in its known sense: shares and rates up, times down.",
            rich_help_panel=_FIGURES,
        ),
    ] = None,
    y: Annotated[str | None, typer.Option(help="Another one.", rich_help_panel=_FIGURES)] = None,
    minimize: Annotated[
        list[str] | None,
        typer.Option(
            help="A figure of summary.json, or a number of the grid such as gpu_memory_bytes, of "
            "which less is better; repeat for several.",
            rich_help_panel=_FIGURES,
        ),
    ] = None,
    maximize: Annotated[
        list[str] | None,
        typer.Option(help="One of which more is better.", rich_help_panel=_FIGURES),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="A key of the grid: a front for each of its values, such as rate_scale.",
            rich_help_panel=_FIGURES,
        ),
    ] = None,
    all_cells: Annotated[
        bool,
        typer.Option("--all", help="Show dominated cells too, and who dominates them."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show which cells of a study are not dominated in two or more figures. Simulates nothing.

    Example: orbitflow study pareto studies/demo-1 --minimize ttft_s.p95 --maximize slo_attainment
    """
    from orbitflow.study.pareto import fronts, read_criteria, read_groups
    from orbitflow.study.stored import read_study

    study = read_study(folder)
    named = [name for name in (x, y) if name is not None]
    objectives = read_criteria(study, named, minimize or [], maximize or [])
    found = fronts(study, objectives, read_groups(study, by or []))
    if as_json:
        print(json.dumps(_document(study, objectives, found), indent=2, allow_nan=False))
    else:
        _print(study, objectives, found, all_cells=all_cells)


def _print(
    study: StoredStudy, objectives: Sequence[Criterion], found: Sequence[Front], *, all_cells: bool
) -> None:
    from rich.table import Table
    from rich.text import Text

    from orbitflow.cli.tables import console
    from orbitflow.study.keys import POLICY
    from orbitflow.study.policy_names import short_names

    keys = [*(key for key in study.keys if key != POLICY), POLICY]
    short = short_names(cell.cell.policy for cell in study.cells)
    senses = ", ".join(f"{'most' if o.is_maximized else 'least'} {o.name}" for o in objectives)
    table = Table(title=Text(f"{study.trace}: {senses}"), title_justify="left")
    for key in keys:
        table.add_column(key)
    for objective in objectives:
        if objective.name not in keys:
            table.add_column(objective.name, justify="right")
    if all_cells:
        table.add_column("dominated by")
    for front in found:
        for cell in front.members:
            table.add_row(*_row(cell, keys, objectives, short), *([Text()] if all_cells else []))
        for cell, by in front.dominated if all_cells else ():
            table.add_row(
                *_row(cell, keys, objectives, short), _name(by, keys, cell, short), style="dim"
            )
        table.add_section()
    out = console()
    out.print(table)
    for line in _remarks(study, found, all_cells=all_cells):
        out.print(Text(line))


def _row(
    cell: StoredCell,
    keys: Sequence[str],
    objectives: Sequence[Criterion],
    short: Mapping[str, str],
) -> list[Text]:
    from rich.text import Text

    from orbitflow.study.keys import key_text
    from orbitflow.study.policy_names import shown_policy
    from orbitflow.study.statistics import number

    shown = [Text(key_text(key, cell.cell.values[key])) for key in keys[:-1]]
    shown.append(Text(shown_policy(cell.cell.policy, short[cell.cell.policy])))
    figures = [o.value(cell) for o in objectives if o.name not in keys]
    known = [value for value in figures if value is not None]
    assert len(known) == len(figures), "cells without a figure are in no front"
    return shown + [Text(number(value, ".4g")) for value in known]


def _remarks(study: StoredStudy, found: Sequence[Front], *, all_cells: bool) -> list[str]:
    front = sum(len(one.members) for one in found)
    dominated = sum(len(one.dominated) for one in found)
    hidden = "" if all_cells or not dominated else " (--all shows them)"
    lines = []
    if not study.progress.is_finished:
        lines.append(f"the study has not finished: {study.progress}")
    lines.append(
        f"{front} on the front, {dominated} dominated{hidden}; means over seeds are compared"
    )
    if unknown := [cell for one in found for cell in one.unknown]:
        names = "; ".join(", ".join(f"{k}={v}" for k, v in cell.cell.items) for cell in unknown[:3])
        more = "; ..." if len(unknown) > 3 else ""
        lines.append(
            f"{len(unknown)} cells lack a figure and are compared with nobody: {names}{more}"
        )
    counts = {cell.ok for cell in study.cells}
    if len(counts) > 1:
        lines.append(f"cells have from {min(counts)} to {max(counts)} good simulations each")
    for one in found:
        if len({cell.slo_tbt_s for cell in (*one.members, *(d.cell for d in one.dominated))}) > 1:
            lines.append("the cells compared do not share one SLO: --by slo_scale keeps them apart")
            break
    return lines


def _name(
    cell: StoredCell, keys: Sequence[str], beside: StoredCell, short: Mapping[str, str]
) -> Text:
    """What tells one cell from another."""
    from rich.text import Text

    from orbitflow.study.keys import key_text

    differing = [k for k in keys if cell.cell.values[k] != beside.cell.values[k]]
    texts = {k: key_text(k, cell.cell.values[k]) for k in differing}
    return Text(", ".join(f"{k}={short.get(text, text)}" for k, text in texts.items()))


def _document(
    study: StoredStudy, objectives: Sequence[Criterion], found: Sequence[Front]
) -> dict[str, object]:
    from orbitflow import __version__
    from orbitflow.results.summary import SCHEMA_VERSION

    return {
        "schema_version": SCHEMA_VERSION,
        "orbitflow_version": __version__,
        "folder": str(study.path),
        "cells": {"done": study.progress.done, "planned": study.progress.planned},
        "objectives": [
            {"name": o.name, "better": "more" if o.is_maximized else "less"} for o in objectives
        ],
        "fronts": [
            {
                "group": front.group.values,
                "front": [_cell(cell, objectives) for cell in front.members],
                "dominated": [
                    {**_cell(cell, objectives), "by": by.cell.values}
                    for cell, by in front.dominated
                ],
                "unknown": [_cell(cell, objectives) for cell in front.unknown],
            }
            for front in found
        ],
    }


def _cell(cell: StoredCell, objectives: Sequence[Criterion]) -> dict[str, object]:
    values = {o.name: o.value(cell) for o in objectives}
    return {
        "cell": cell.cell.values,
        "slo_tbt_s": cell.slo_tbt_s,
        "ok": cell.ok,
        "failed": cell.failed,
        "figures": {name: None if v is None else v._asdict() for name, v in values.items()},
    }
