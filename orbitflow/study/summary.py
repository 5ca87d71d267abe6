"""The rows of a study folded over seeds: a mean and a 95 % interval for every figure of a cell, and
the share of its bound that it reaches where the study has bounds. What failed is counted and left
out.

share = mean over seeds of (figure / bound of the same seed), so that it is not a quotient of means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from orbitflow import __version__
from orbitflow.results.bound_share import is_covered, shares_of_bound
from orbitflow.study.grid import Cell
from orbitflow.study.keys import Value, in_order
from orbitflow.study.statistics import Estimate, estimates
from orbitflow.study.stored import Row
from orbitflow.study.study import SCHEMA_VERSION, Study


class BoundResult(NamedTuple):
    """What no policy can exceed in a cell, and how close the cell's own comes.

    `share` is None where the bound does not cover some run; `error` says why a bound is missing.
    """

    figures: dict[str, Estimate]
    share: dict[str, Estimate] | None
    error: str | None


class CellResult(NamedTuple):
    """What one cell came to."""

    cell: Cell
    slo_tbt_s: float | None
    ok: int
    failed: int
    errors: tuple[str, ...]
    figures: dict[str, Estimate]
    bound: BoundResult | None = None  # None: bounds were not wanted


def results(study: Study, rows: Mapping[tuple[str, int], Row]) -> list[CellResult]:
    """Every cell of the study in its order, over the rows that are there."""
    by_cell: dict[str, list[Row]] = {}
    for (cell_id, _), row in sorted(rows.items()):
        by_cell.setdefault(cell_id, []).append(row)
    found = []
    for cell in study.cells:
        rows_of_cell = by_cell.get(cell.id, [])
        result = _result(cell, rows_of_cell)
        if study.bounded:
            bounds = by_cell.get(cell.group.id, [])
            result = result._replace(bound=_bound_result(rows_of_cell, bounds))
        found.append(result)
    return found


def summary(study: Study, found: Sequence[CellResult]) -> dict[str, object]:
    """The content of `summary.json`: the same study gives the same bytes."""
    scenario = study.scenario
    found_json: dict[str, object] = {
        "schema_version": SCHEMA_VERSION,
        "orbitflow_version": __version__,
        "trace": {"name": scenario.trace.name, "requests": len(scenario.trace)},
        "profile": scenario.profile.name,
        "slo": {"tau_s": scenario.slo.tbt_limit_s, "origin": scenario.slo.origin},
        "grid": _grid(study),
        "seeds": study.seeds,
        "arrival_jitter": study.base.arrival_jitter,
        "notices": list(study.notices),
        "cells": [_to_json(result) for result in found],
    }
    if (search := study.search) is not None:
        first = best(study, found)
        found_json["search"] = search.to_json()
        found_json["best"] = None if first is None else found.index(first)
    return found_json


def ranked(study: Study, found: Sequence[CellResult]) -> list[CellResult]:
    """The trials of a search by what they reached, the best first; among equals the earlier one."""
    assert study.search is not None
    goal = study.search.objective
    return sorted(found, key=lambda result: goal.rank(goal.of(result.figures)))


def best(study: Study, found: Sequence[CellResult]) -> CellResult | None:
    """The best trial of a search; None if none has the figure that is looked for."""
    assert study.search is not None
    goal = study.search.objective
    first = next(iter(ranked(study, found)), None)
    return None if first is None or goal.of(first.figures) is None else first


def _grid(study: Study) -> dict[str, list[Value]]:
    """The values of every key: those of the grid, or those that a search came to."""
    if study.search is None:
        return {axis.key: list(axis.values) for axis in study.grid.axes}
    return {key: in_order(cell.values[key] for cell in study.cells) for key in study.grid.keys}


def _result(cell: Cell, rows: Sequence[Row]) -> CellResult:
    good = [row for row in rows if row["status"] == "ok"]
    return CellResult(
        cell,
        rows[0]["slo_tbt_s"] if rows else None,
        len(good),
        len(rows) - len(good),
        tuple(dict.fromkeys(row["error"] for row in rows if row["status"] != "ok")),
        estimates([row["figures"] for row in good]),
    )


def _bound_result(rows: Sequence[Row], bounds: Sequence[Row]) -> BoundResult:
    """What the rows of a cell and those of its bound come to, both in order of seeds."""
    known = {row["seed"]: row["figures"] for row in bounds if row["status"] == "ok"}
    errors = [row["error"] for row in bounds if row["status"] != "ok"]
    good = [row for row in rows if row["status"] == "ok"]
    return BoundResult(
        estimates(list(known.values())),
        _shares(good, known),
        errors[0] if errors else None,
    )


def _shares(
    good: Sequence[Row], known: Mapping[int, Mapping[str, Any]]
) -> dict[str, Estimate] | None:
    if not all(is_covered(row["figures"]) for row in good):
        return None
    pairs = [(row["figures"], known[row["seed"]]) for row in good if row["seed"] in known]
    found = [shares_of_bound(figures, bound) for figures, bound in pairs]
    return estimates([shares for shares in found if shares is not None])


def _to_json(result: CellResult) -> dict[str, object]:
    found: dict[str, object] = {
        "cell": result.cell.values,
        "slo_tbt_s": result.slo_tbt_s,
        "ok": result.ok,
        "failed": result.failed,
        "errors": list(result.errors),
        "figures": _named(result.figures),
    }
    if (bound := result.bound) is not None:
        found["bound"] = _named(bound.figures)
        found["bound_error"] = bound.error
        found["share_of_bound"] = None if bound.share is None else _named(bound.share)
    return found


def _named(figures: Mapping[str, Estimate]) -> dict[str, object]:
    return {name: value._asdict() for name, value in figures.items()}
