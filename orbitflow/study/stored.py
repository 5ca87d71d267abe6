"""A study folder read back, finished or not, without the inputs that it was made from.

Nothing is locked or changed: a study that is running may be read, torn last line included.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from orbitflow.errors import UserError
from orbitflow.study.estimates import Estimate, estimates
from orbitflow.study.folder import Row, row_id
from orbitflow.study.grid import Cell
from orbitflow.study.keys import POLICY
from orbitflow.study.plan import SCHEMA_VERSION


class StoredCell(NamedTuple):
    """The simulations of a cell: `ok` went into the means, `failed` did not."""

    cell: Cell
    slo_tbt_s: float
    ok: int
    failed: int
    figures: dict[str, Estimate]


class StoredStudy(NamedTuple):
    """A study as its folder has it; cells in order of appearance."""

    path: Path
    trace: str
    keys: tuple[str, ...]
    cells: tuple[StoredCell, ...]

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of the numbers that some cell has."""
        return tuple(dict.fromkeys(name for cell in self.cells for name in cell.figures))

    @property
    def numeric_keys(self) -> tuple[str, ...]:
        """The keys of the grid whose values are numbers in every cell."""
        return tuple(
            key for key in self.keys if all(_is_number(c.cell.values[key]) for c in self.cells)
        )


def read_study(path: Path) -> StoredStudy:
    """Read a folder that `orbitflow study` left. Raise a UserError if there are no cells in it."""
    definition = _definition(path / "study.json")
    rows = _rows(path / "cells.jsonl")
    by_cell: dict[str, list[Row]] = {}
    for (cell_id, _), row in rows.items():
        if POLICY in row["cell"]:  # a bound has none
            by_cell.setdefault(cell_id, []).append(row)
    if not by_cell:
        raise UserError(f"{path} has no finished simulation yet: let the study go on first")
    cells = tuple(_cell(group) for group in by_cell.values())
    keys = tuple(dict.fromkeys(key for cell in cells for key, _ in cell.cell.items))
    for cell in cells:
        if set(cell.cell.values) != set(keys):
            raise UserError(f"{path}/cells.jsonl: cells differ in their keys: not one study's")
    return StoredStudy(path, Path(str(definition["base"]["trace"])).stem, keys, cells)


def _definition(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        version = found["schema_version"]
        trace = found["base"]["trace"]
    except OSError as error:
        raise UserError(
            f"{file.parent} is not a study folder ({file.name}: {error.strerror}): "
            "name one that `orbitflow study run` or `study capacity` made"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file} is broken: name another study folder") from None
    if not isinstance(version, int) or version > SCHEMA_VERSION or not isinstance(trace, str):
        raise UserError(f"{file}: schema_version {version} is unknown here: update orbitflow")
    return dict(found)


def _rows(file: Path) -> dict[tuple[str, int], Row]:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror})") from None
    rows: dict[tuple[str, int], Row] = {}
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        try:
            row = json.loads(line)
            assert isinstance(row["figures"] or {}, dict)
            assert row["status"] in ("ok", "failed")
            rows[row_id(row)] = row
        except (ValueError, KeyError, TypeError, AssertionError):
            raise UserError(f"{file}:{number} is not a row of a study: remove that line") from None
    return rows


def _cell(rows: list[Row]) -> StoredCell:
    good = [row["figures"] for row in rows if row["status"] == "ok"]
    cell = Cell(tuple(rows[0]["cell"].items()))
    return StoredCell(
        cell, float(rows[0]["slo_tbt_s"]), len(good), len(rows) - len(good), estimates(good)
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
