"""The rows of a study folded over seeds: a mean and a 95 % interval for every figure of a cell.

half width = t(0.975, n - 1) s / sqrt(n), Student's t, s the standard deviation of the n seeds. With
one seed there is a mean only. What failed is counted and left out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from orbitflow import __version__
from orbitflow.study.folder import Row
from orbitflow.study.grid import Cell
from orbitflow.study.plan import SCHEMA_VERSION, Study

_T_975 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip
_T_975_BEYOND = ((120, 1.9799), (60, 2.0003), (40, 2.0211), (30, 2.0423))


class Estimate(NamedTuple):
    """A figure over seeds. Without a half width, one seed has it."""

    mean: float
    half_width: float | None


class CellResult(NamedTuple):
    """What one cell came to."""

    cell: Cell
    slo_tbt_s: float | None
    ok: int
    failed: int
    errors: tuple[str, ...]
    figures: dict[str, Estimate]


def t_quantile(freedom: int) -> float:
    """The 0.975 quantile of Student's t, rounded towards the wider interval between entries.

    >>> t_quantile(2)
    4.3027
    """
    if freedom <= len(_T_975):
        return _T_975[freedom - 1]
    return next(t for least, t in _T_975_BEYOND if freedom >= least)


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and half width of the 95 % interval of at least one value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Estimate(mean, None)
    spread = statistics.stdev(values) / math.sqrt(len(values))
    return Estimate(mean, t_quantile(len(values) - 1) * spread)


def results(study: Study, rows: Mapping[tuple[str, int], Row]) -> list[CellResult]:
    """Every cell of the grid in its order, over the rows that are there."""
    by_cell: dict[str, list[Row]] = {}
    for (cell_id, _), row in sorted(rows.items()):
        by_cell.setdefault(cell_id, []).append(row)
    return [_result(cell, by_cell.get(cell.id, [])) for cell in study.grid.cells()]


def summary(study: Study, found: Sequence[CellResult]) -> dict[str, object]:
    """The content of `summary.json`: the same study gives the same bytes."""
    scenario = study.scenario
    return {
        "schema_version": SCHEMA_VERSION,
        "orbitflow_version": __version__,
        "trace": {"name": scenario.trace.name, "requests": len(scenario.trace)},
        "profile": scenario.profile.name,
        "slo": {"tau_s": scenario.slo.tau_s, "origin": scenario.slo.origin},
        "grid": {axis.key: list(axis.values) for axis in study.grid.axes},
        "seeds": study.seeds,
        "arrival_jitter": study.base.arrival_jitter,
        "notices": list(study.notices),
        "cells": [_to_json(result) for result in found],
    }


def _result(cell: Cell, rows: Sequence[Row]) -> CellResult:
    good = [row for row in rows if row["status"] == "ok"]
    return CellResult(
        cell,
        rows[0]["slo_tbt_s"] if rows else None,
        len(good),
        len(rows) - len(good),
        tuple(dict.fromkeys(row["error"] for row in rows if row["status"] != "ok")),
        _estimates([row["figures"] for row in good]),
    )


def _estimates(runs: Sequence[Mapping[str, Any]]) -> dict[str, Estimate]:
    """Of every number that some run has; what is undefined in a run is left out of its mean."""
    columns: dict[str, list[float]] = {}
    for run in runs:
        for name, value in run.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                columns.setdefault(name, []).append(value)
    return {name: estimate(values) for name, values in columns.items()}


def _to_json(result: CellResult) -> dict[str, object]:
    return {
        "cell": result.cell.values,
        "slo_tbt_s": result.slo_tbt_s,
        "ok": result.ok,
        "failed": result.failed,
        "errors": list(result.errors),
        "figures": {name: value._asdict() for name, value in result.figures.items()},
    }
