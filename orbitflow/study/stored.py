"""A study folder read back, finished or not, without the inputs that it was made from.

Nothing is locked or changed: a study that is running may be read, torn last line included.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from orbitflow import __version__
from orbitflow.errors import UserError
from orbitflow.formats.reading import read_json, read_lines
from orbitflow.formats.records import Natural, Real, Whole
from orbitflow.study.figures import Objective
from orbitflow.study.grid import Cell
from orbitflow.study.keys import POLICY, Direction, Value, has_kind, is_key
from orbitflow.study.statistics import Estimate, estimates
from orbitflow.study.study import SCHEMA_VERSION, Job

Row: TypeAlias = Mapping[str, Any]  # one line of `cells.jsonl`

_ENDS = (("ok", True), ("failed", False))  # a status, and whether there are figures


class StoredCell(NamedTuple):
    """The simulations of a cell: `ok` went into the means, `failed` did not."""

    cell: Cell
    slo_tbt_s: float
    ok: int
    failed: int
    figures: dict[str, Estimate]


class Searched(NamedTuple):
    """What a study searched for, and how. `log_keys` were drawn by their logarithms."""

    sampler: str
    trials: int
    objective: Objective
    log_keys: frozenset[str]


class Definition(NamedTuple):
    """What a study was to do. The grid of a search has the extreme values of its space, that of
    `study capacity` none of what it varies.
    """

    trace: str
    grid: Mapping[str, Sequence[Value]]
    seeds: int
    search: Searched | None

    @property
    def cells(self) -> int | None:
        """How many cells the grid has; None where a study asks for more as it goes."""
        if self.search is not None or not all(self.grid.values()):
            return None
        return math.prod(map(len, self.grid.values()))


class StudyProgress(NamedTuple):
    """How many cells have all their simulations, well or failed, of how many; None: nobody knows
    yet.
    """

    done: int
    planned: int | None
    is_finished: bool

    def __str__(self) -> str:
        of = "" if self.planned is None else f" of {self.planned}"
        return f"{self.done}{of} cells are done"


class StoredStudy(NamedTuple):
    """A study as its folder has it; cells in order of appearance."""

    path: Path
    trace: str
    keys: tuple[str, ...]
    cells: tuple[StoredCell, ...]
    progress: StudyProgress

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
    definition = read_definition(path)
    by_cell: dict[str, list[Row]] = {}
    for (cell_id, _), row in read_rows(path).items():
        if POLICY in row["cell"]:  # a bound has none
            by_cell.setdefault(cell_id, []).append(row)
    if not by_cell:
        raise UserError(f"{path} has no finished simulation yet: go on with the study")
    cells = tuple(_cell(group) for group in by_cell.values())
    keys = tuple(dict.fromkeys(key for cell in cells for key, _ in cell.cell.items))
    for cell in cells:
        if set(cell.cell.values) != set(keys):
            raise UserError(f"{path}/cells.jsonl: cells differ in their keys: not one study's")
    progress = _progress(path, definition, cells)
    return StoredStudy(path, Path(definition.trace).stem, keys, cells, progress)


def _progress(path: Path, definition: Definition, cells: Sequence[StoredCell]) -> StudyProgress:
    done = sum(cell.ok + cell.failed >= definition.seeds for cell in cells)
    if definition.cells is not None:
        return StudyProgress(done, definition.cells, done >= definition.cells)
    trials = None if definition.search is None else definition.search.trials
    return StudyProgress(done, trials, has_ended(path))


def has_ended(path: Path) -> bool:
    """Whether a study has come to its end once; what was tried again since may be missing."""
    return (path / "summary.json").exists()


def writer(found: Mapping[str, Any]) -> str:
    """Which orbitflow wrote a document."""
    version = found.get("orbitflow_version")
    return "an orbitflow of no known version" if version is None else f"orbitflow {version}"


def read_definition(path: Path) -> Definition:
    """What `study.json` of a folder says. Raise a UserError if it cannot be read, or is of another
    version, or of a study that has no grid.
    """
    file = path / "study.json"
    if not file.exists():
        raise UserError(
            f"{path} is not a study folder (it has no {file.name}): "
            "name one that `orbitflow study run` or `study capacity` made"
        )
    found = read_json(file, "name a folder that `orbitflow study run` or `study capacity` made")
    if not isinstance(found, dict) or "schema_version" not in found:
        raise _broken(file)
    version, is_paper = found["schema_version"], found.get("study") == "paper"
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{file} has schema_version {version}, orbitflow {__version__} reads {SCHEMA_VERSION}: "
            f"{writer(found)} wrote it; use that one, or run the study again in a new folder"
        )
    if is_paper:
        raise UserError(
            f"{path} is of the paper's evaluation, whose points are no grid: see its paper.md, or "
            "name a folder that `orbitflow study run` or `study capacity` made"
        )
    try:
        return _definition(found)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _broken(file) from None


def _definition(found: Mapping[str, Any]) -> Definition:
    search = found.get("search")
    searched = None
    if search is not None:
        goal = Objective(str(search["objective"]), Direction(search["direction"]))
        logs = frozenset(key for key, drawn in search["space"].items() if drawn.get("log"))
        searched = Searched(str(search["sampler"]), int(search["trials"]), goal, logs)
    grid = {str(key): tuple(values) for key, values in found["grid"].items()}
    return Definition(str(found["base"]["trace"]), grid, int(found["seeds"]), searched)


def _broken(file: Path) -> UserError:
    return UserError(f"{file} is no study's definition: name another study folder")


def row_id(row: Row) -> tuple[str, int]:
    """Which simulation a row is of."""
    return json.dumps(row["cell"], sort_keys=True), row["seed"]


def job_id(job: Job) -> tuple[str, int]:
    """The same of a simulation to come."""
    return job.cell.id, job.seed


def read_rows(path: Path) -> dict[tuple[str, int], Row]:
    """The rows of a folder, the last of each simulation and bound; none if there are none yet."""
    file = path / "cells.jsonl"
    if not file.exists():
        return {}
    remedy = "remove that line to run it again"
    rows = read_lines(file, _row, remedy, what="is not a row of a study")
    return {row_id(row): row for row in rows}


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """The schema of a row."""

    cell: dict[str, Whole | Real | str | bool]
    seed: Natural
    status: Literal["ok", "failed"]
    slo_tbt_s: Real
    figures: dict[str, Whole | Real | str | bool | None] | None
    error: str | None


_decode_line = msgspec.json.Decoder(_Line).decode


def _row(line: bytes) -> Row:
    """A row. Raise a ValueError if the line is none."""
    row = _decode_line(line)
    if (row.status, row.figures is not None) not in _ENDS:
        raise ValueError(f"{row.status}, but with{'out' if row.figures is None else ''} figures")
    for key, value in row.cell.items():
        if is_key(key) and not has_kind(key, value):  # other studies have keys of their own
            raise ValueError(f"{key[:40]} of the cell is {str(value)[:40]}")
    return msgspec.structs.asdict(row)


def _cell(rows: list[Row]) -> StoredCell:
    good = [row["figures"] for row in rows if row["status"] == "ok"]
    cell = Cell(tuple(rows[0]["cell"].items()))
    return StoredCell(
        cell, float(rows[0]["slo_tbt_s"]), len(good), len(rows) - len(good), estimates(good)
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
