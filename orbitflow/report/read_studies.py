"""A study's folder, with a mean and a 95 % interval over the seeds for every figure of a cell.

A study that is still running, or was interrupted, is read as far as it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from orbitflow.errors import UserError
from orbitflow.results.run_files import read_document
from orbitflow.study.capacity_result import CapacityResult, read_capacity
from orbitflow.study.grid import Cell
from orbitflow.study.keys import POLICY, Direction, Value, in_order
from orbitflow.study.policy_names import short_names
from orbitflow.study.statistics import Estimate, estimates
from orbitflow.study.stored import Row, Searched, has_ended, read_definition, read_rows

BOUND = "bound"  # the series of what no policy can exceed
_SEED = "seed"
_NOT_KEYS = (POLICY, _SEED)


class StudyCell(NamedTuple):
    """One point of the grid. `policy` is `BOUND` for the upper bound."""

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
    """A study's folder. `grid` has the values that its cells have, where they were not planned.
    `simulations` are those that a grid asks for; None of a search and of a capacity question, which
    ask for more as they go. `answers` are those of a capacity question that has them.
    """

    path: Path
    label: str
    trace: str
    grid: Mapping[str, Sequence[Value]]
    seeds: int
    simulations: int | None
    search: Searched | None
    answers: CapacityResult | None
    is_finished: bool
    cells: tuple[StudyCell, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that were varied besides the policy."""
        return tuple(key for key in self.grid if key not in _NOT_KEYS)

    @property
    def sought(self) -> Mapping[str, bool]:
        """The figures that it was about, and whether more of them is better: what a search looks
        for, the targets of a capacity question; a grid has none.
        """
        if self.search is not None:
            figure, direction = self.search.objective
            return {figure: direction is Direction.MAX}
        targets = () if self.answers is None else self.answers.targets
        return {target.figure: target.is_least for target in targets}

    def is_log(self, key: str) -> bool:
        """Whether values of a key are drawn or bisected by their ratio."""
        if self.search is not None:
            return key in self.search.log_keys
        return self.answers is not None and key == self.answers.key

    @property
    def done(self) -> int:
        """The number of simulations that have ended, well or not."""
        return sum(cell.ok + cell.failed for cell in self.cells if cell.policy != BOUND)

    @property
    def missing(self) -> str | None:
        """How far a study has come that has not finished; None if it has."""
        if self.is_finished:
            return None
        of = "" if self.simulations is None else f" of {self.simulations}"
        return f"{self.done}{of} simulations"


def is_study(path: Path) -> bool:
    """Whether that folder is a study's."""
    return (path / "study.json").exists()


def read_study(path: Path, label: str) -> ReportStudy:
    """Read a study's folder. Raise a UserError if it has no rows, or they cannot be read."""
    definition = read_definition(path)
    rows = read_rows(path)
    if not rows:
        raise UserError(f"{path} has no finished simulation yet: go on with the study")
    cells = _cells(rows)
    grid = definition.grid
    short = short_names([*map(str, grid.get(POLICY, ())), *(cell.policy for cell in cells)])
    cells = [cell._replace(policy=short[cell.policy]) for cell in cells]
    grid = {k: [short.get(str(v), v) if k == POLICY else v for v in vs] for k, vs in grid.items()}
    simulations = None if definition.cells is None else definition.seeds * definition.cells
    if simulations is None:
        grid = _values_of(cells, grid)
    study = ReportStudy(
        path,
        label,
        definition.trace,
        grid,
        max(definition.seeds, len(grid.get(_SEED, ()))),
        simulations,
        definition.search,
        _answers(path),
        has_ended(path),
        tuple(sorted(cells, key=_ranking(definition.search, grid))),
    )
    if simulations is None:
        return study
    return replace(study, is_finished=study.done >= simulations)


def _answers(path: Path) -> CapacityResult | None:
    file = path / "capacity.json"
    if not file.exists():
        return None
    content = read_document(file)
    try:
        return read_capacity(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{file} has no answers ({error!r}): run `orbitflow study capacity` with "
            f"--out {path} again"
        ) from None


def _values_of(
    cells: Sequence[StudyCell], grid: Mapping[str, Sequence[Value]]
) -> Mapping[str, Sequence[Value]]:
    """The values that the cells have. Policies, and the seeds of a grid, were all planned."""
    others = [dict(cell.others) for cell in cells]
    return {
        key: planned if key in _NOT_KEYS else in_order(o[key] for o in others if key in o)
        for key, planned in grid.items()
    }


def _cells(rows: Mapping[tuple[str, int], Row]) -> list[StudyCell]:
    by_cell: dict[str, list[Row]] = {}
    for _, row in sorted(rows.items(), key=lambda item: item[0]):
        by_cell.setdefault(_cell_id(row), []).append(row)
    return [_fold(members) for members in by_cell.values()]


def _cell_id(row: Row) -> str:
    """The same text for the same cell; seeds of the grid are seeds like others."""
    return Cell(tuple((k, v) for k, v in row["cell"].items() if k != _SEED)).id


def _ranking(
    search: Searched | None, grid: Mapping[str, Sequence[Value]]
) -> Callable[[StudyCell], tuple[object, ...]]:
    """The best trial of a search first; of a grid its own order."""
    if search is None:
        return lambda cell: _place(cell, grid)
    goal = search.objective
    return lambda cell: (*goal.rank(goal.of(cell.figures)), *_place(cell, grid))


def _fold(rows: Sequence[Row]) -> StudyCell:
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
