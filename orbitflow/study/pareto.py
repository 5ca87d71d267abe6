"""Which cells are not dominated in several figures at once.

a dominates b iff a is at least as good in every figure and better in one. The front is who is
dominated by nobody: equal cells are on it together. Whoever is not on it is dominated by somebody
who is. Means over seeds are compared; their intervals are shown, not weighed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from orbitflow.errors import UserError, nearest
from orbitflow.study.figures import NO_DIRECTION, more_is_better
from orbitflow.study.grid import Cell
from orbitflow.study.statistics import Estimate
from orbitflow.study.stored import StoredCell, StoredStudy

Costs: TypeAlias = tuple[float, ...]  # a figure each; less is better


class Objective(NamedTuple):
    """A figure, or a number of the grid, and which way is better."""

    name: str
    is_maximized: bool

    def value(self, cell: StoredCell) -> Estimate | None:
        """Its value in a cell; None if it is undefined there."""
        given = dict(cell.cell.items).get(self.name)
        if isinstance(given, int | float) and not isinstance(given, bool):
            return Estimate(given, None)
        return cell.figures.get(self.name)


class Dominated(NamedTuple):
    """A cell, and one on the front that dominates it."""

    cell: StoredCell
    by: StoredCell


class Front(NamedTuple):
    """The cells of one group. Who lacks a figure (`unknown`) is compared with nobody."""

    group: Cell
    members: tuple[StoredCell, ...]  # from the best to the worst in the first objective
    dominated: tuple[Dominated, ...]
    unknown: tuple[StoredCell, ...]


def dominators(points: Sequence[Costs]) -> list[int | None]:
    """For each point somebody on the front that dominates it, or None for those on the front.

    In lexicographic order nobody is dominated by who comes later, so the front so far is enough.
    """
    found: list[int | None] = [None] * len(points)
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: points[i]):
        by = next((other for other in front if _dominates(points[other], points[index])), None)
        found[index] = by
        if by is None:
            front.append(index)
    return found


def _dominates(one: Costs, other: Costs) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def fronts(
    study: StoredStudy, objectives: Sequence[Objective], by: Sequence[str] = ()
) -> list[Front]:
    """A front for each combination of values of the keys `by`, in order of appearance."""
    groups: dict[Cell, list[StoredCell]] = {}
    for cell in study.cells:
        values = cell.cell.values
        groups.setdefault(Cell(tuple((key, values[key]) for key in by)), []).append(cell)
    return [_front(group, cells, objectives) for group, cells in groups.items()]


def _front(group: Cell, cells: Sequence[StoredCell], objectives: Sequence[Objective]) -> Front:
    found = [(cell, [objective.value(cell) for objective in objectives]) for cell in cells]
    known = [
        (cell, tuple(_cost(o, v) for o, v in zip(objectives, values, strict=True) if v is not None))
        for cell, values in found
        if None not in values
    ]
    unknown = tuple(cell for cell, values in found if None in values)
    # equal cells in an order of their own, so that the order of the study does not matter
    known.sort(key=lambda item: (item[1], item[0].cell.id))
    by = dominators([costs for _, costs in known])
    members = [cell for (cell, _), one in zip(known, by, strict=True) if one is None]
    dominated = [
        Dominated(cell, known[one][0])
        for (cell, _), one in zip(known, by, strict=True)
        if one is not None
    ]
    return Front(group, tuple(members), tuple(dominated), unknown)


def _cost(objective: Objective, value: Estimate) -> float:
    return -value.mean if objective.is_maximized else value.mean


def read_objectives(
    study: StoredStudy, named: Sequence[str], least: Sequence[str], most: Sequence[str]
) -> list[Objective]:
    """The objectives that a person asked for: those `named` by the sense of their figure.

    Raise a UserError for fewer than two, one that comes twice, or one that no cell has.
    """
    wanted: list[tuple[str, bool | None]] = [(name, None) for name in named]
    wanted += [(name, False) for name in least]
    wanted += [(name, True) for name in most]
    found = [_objective(study, name, sense) for name, sense in wanted]
    if len(found) < 2:
        raise UserError(
            "a front needs two figures or more: such as --minimize ttft_s.p95 "
            "--maximize slo_attainment"
        )
    names = [objective.name for objective in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{name} is named twice: keep one")
    return found


def _objective(study: StoredStudy, name: str, is_maximized: bool | None) -> Objective:
    key = name.strip().lstrip("-").replace("-", "_")
    if key in study.numeric_keys:
        if is_maximized is None:
            raise UserError(f"{key} is of the grid: say --minimize {key} or --maximize {key}")
    elif key not in study.figures:
        known = (*study.figures, *study.numeric_keys)
        raise UserError(f"no cell has a figure {name!r}: {nearest(key, known)}")
    elif is_maximized is None and key in NO_DIRECTION:
        raise UserError(f"{key} is not better one way: say --minimize {key} or --maximize {key}")
    return Objective(key, more_is_better(key) if is_maximized is None else is_maximized)


def read_groups(study: StoredStudy, by: Sequence[str]) -> list[str]:
    """The keys of the grid that split the cells. Raise a UserError for a stranger."""
    keys = [name.strip().lstrip("-").replace("-", "_") for name in by]
    for key in keys:
        if key not in study.keys:
            raise UserError(f"--by {key}: the grid has no such key: {nearest(key, study.keys)}")
    return list(dict.fromkeys(keys))
