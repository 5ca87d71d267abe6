"""A study's folder, folded over seeds: a mean and a 95 % interval for every figure of a cell.

Rows are read from `cells.jsonl`, so a study that is still running, or was interrupted, has what is
there; the last row of a cell and seed counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from orbitflow.errors import UserError
from orbitflow.report.policy_files import read_lines
from orbitflow.study.estimates import Estimate, estimates
from orbitflow.study.keys import POLICY, Value

BOUND = "bound"  # the series of what no policy can exceed
_SCHEMA = 1
_SEED = "seed"
_NOT_KEYS = (POLICY, _SEED)


class StudyCell(NamedTuple):
    """One point of the grid. `policy` is `BOUND` where no policy serves."""

    policy: str
    others: tuple[tuple[str, Value], ...]  # the values of all keys but the policy
    slo_tbt_s: float | None
    ok: int
    failed: int
    error: str | None
    figures: Mapping[str, Estimate]
    lossy: bool


@dataclass(frozen=True, slots=True)
class ReportStudy:
    """A study's folder. `simulations` are those that the grid asks for."""

    path: Path
    label: str
    base: Mapping[str, Any]
    grid: Mapping[str, Sequence[Value]]
    seeds: int
    simulations: int
    cells: tuple[StudyCell, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """What was varied beside the policy."""
        return tuple(key for key in self.grid if key not in _NOT_KEYS)

    @property
    def done(self) -> int:
        """Simulations that are there, well or failed."""
        return sum(cell.ok + cell.failed for cell in self.cells if cell.policy != BOUND)


def is_study(path: Path) -> bool:
    """Whether that folder is a study's."""
    return (path / "study.json").exists()


def read_study(path: Path, label: str) -> ReportStudy:
    """Read a study's folder. Raise a UserError if it has no rows, or they cannot be read."""
    file = path / "study.json"
    try:
        definition = json.loads(file.read_text(encoding="utf-8"))
        version = definition["schema_version"]
        base, grid, seeds = definition["base"], definition["grid"], definition["seeds"]
        counts = [len(values) for values in grid.values()]
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{file} is no study's definition: run the study again") from None
    if version != _SCHEMA:
        raise UserError(f"{file} has schema_version {version}: this version reads {_SCHEMA}")
    rows_file = path / "cells.jsonl"
    rows = read_lines(rows_file) if rows_file.exists() else []
    if not rows:
        raise UserError(f"{path} has no finished simulation yet: go on with the study")
    simulations = seeds * math.prod(counts)
    try:
        cells = _cells(rows, grid)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"{rows_file} has a row that is none of a study ({error!r})") from None
    return ReportStudy(
        path, label, base, grid, max(seeds, len(grid.get(_SEED, ()))), simulations, cells
    )


def _cells(rows: Sequence[Mapping[str, Any]], grid: Mapping[str, Any]) -> tuple[StudyCell, ...]:
    last = {(_cell_id(row), row["seed"]): row for row in rows}
    by_cell: dict[str, list[Mapping[str, Any]]] = {}
    for (cell_id, _), row in sorted(last.items()):
        by_cell.setdefault(cell_id, []).append(row)
    cells = [_fold(members) for members in by_cell.values()]
    return tuple(sorted(cells, key=lambda cell: _place(cell, grid)))


def _cell_id(row: Mapping[str, Any]) -> str:
    """The same text for the same cell; seeds of the grid are seeds like others."""
    return json.dumps({k: v for k, v in row["cell"].items() if k != _SEED}, sort_keys=True)


def _fold(rows: Sequence[Mapping[str, Any]]) -> StudyCell:
    values = rows[0]["cell"]
    good = [row["figures"] for row in rows if row["status"] == "ok"]
    errors = [str(row["error"]) for row in rows if row["status"] != "ok"]
    return StudyCell(
        str(values.get(POLICY, BOUND)),
        tuple((key, value) for key, value in values.items() if key not in _NOT_KEYS),
        rows[0]["slo_tbt_s"],
        len(good),
        len(errors),
        errors[0] if errors else None,
        estimates(good),
        any(figures.get("lossy") for figures in good),
    )


def _place(cell: StudyCell, grid: Mapping[str, Sequence[Value]]) -> tuple[object, ...]:
    """Groups in the order of the grid, policies within a group, and the bound last."""
    others = dict(cell.others)
    places = [_index(values, others.get(key)) for key, values in grid.items() if key != POLICY]
    return (*places, _index(grid.get(POLICY, ()), cell.policy), str(cell.others), cell.policy)


def _index(values: Sequence[Value], value: Value | None) -> int:
    return len(values) if value is None or value not in values else values.index(value)
