"""The axes of a grid, from `--grid key=a,b,c` or from a TOML file, and its cells: their product.

[grid]
policy = ["no-offload", "dynamic"]
slo_scale = [1, 1.5, 2.5]
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from orbitflow.errors import UserError
from orbitflow.formats.reading import read_toml
from orbitflow.policy.registry import expand
from orbitflow.study.keys import POLICY, Value, key_of, read_value


class Axis(NamedTuple):
    """One key and the values that it takes."""

    key: str
    values: tuple[Value, ...]


class Cell(NamedTuple):
    """One point of the grid: a value for every key."""

    items: tuple[tuple[str, Value], ...]

    @property
    def values(self) -> dict[str, Value]:
        """The values by key."""
        return dict(self.items)

    @property
    def policy(self) -> str:
        """Who serves in it."""
        return str(self.values[POLICY])

    @property
    def group(self) -> Cell:
        """The cell without its policy: what policies are compared on."""
        return Cell(tuple(item for item in self.items if item[0] != POLICY))

    @property
    def id(self) -> str:
        """The same text for the same values, in whatever order."""
        return json.dumps(self.values, sort_keys=True)


class Grid(NamedTuple):
    """The axes, and what was left out of them."""

    axes: tuple[Axis, ...]
    notices: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the axes."""
        return tuple(axis.key for axis in self.axes)

    def cells(self) -> list[Cell]:
        """Every cell; the last axis varies fastest."""
        ways = [[(axis.key, value) for value in axis.values] for axis in self.axes]
        return [Cell(items) for items in itertools.product(*ways)]


def read_grid(options: Sequence[str], file: Path | None) -> Grid:
    """Read the axes of both sources. Raise a UserError if there are none, or a key comes twice."""
    axes: list[Axis] = []
    notices: list[str] = []
    for name, raws in map(_split, options):
        _add(axes, notices, name, raws)
    for name, raws in _from_file(file):
        try:
            _add(axes, notices, name, raws)
        except UserError as refusal:
            raise UserError(f"--grid-file {file}: {refusal}") from None
    if not axes:
        where = "" if file is None else f"--grid-file {file}: "
        raise UserError(f"{where}the grid is empty: vary something, such as --grid policy=all")
    return Grid(tuple(axes), tuple(notices))


def _add(axes: list[Axis], notices: list[str], name: str, raws: Sequence[object]) -> None:
    key = key_of(name)
    if key in (axis.key for axis in axes):
        raise UserError(f"--grid {key} is given twice: write its values once, with commas")
    values = _values(key, raws)
    once = tuple(dict.fromkeys(values))
    if len(once) < len(values):
        notices.append(f"--grid {key}: repeated values were dropped")
    axes.append(Axis(key, once))


def _values(key: str, raws: Sequence[object]) -> list[Value]:
    if not raws:
        raise UserError(f"--grid {key} has no values: write {key}=a,b,c")
    values = [read_value(key, raw) for raw in raws]
    if key != POLICY:
        return values
    return [name for value in values for name in expand([str(value)])]


def _split(option: str) -> tuple[str, Sequence[object]]:
    name, equals, values = option.partition("=")
    if not equals or not name.strip():
        raise UserError(f"--grid {option!r}: write key=a,b,c, such as slo_scale=1,1.5")
    return name, values.split(",") if values.strip() else ()


def _from_file(path: Path | None) -> Iterable[tuple[str, Sequence[object]]]:
    if path is None:
        return []
    document = read_toml(path, "--grid-file takes TOML with a table [grid]")
    for name in document:
        if name != "grid":
            raise UserError(f"--grid-file {path}: {name!r} is unknown: write all under [grid]")
    table = document.get("grid", {})
    if not isinstance(table, dict):
        raise UserError(f"--grid-file {path}: grid must be a table: [grid] and key = [a, b, c]")
    return [(name, raw if isinstance(raw, list) else [raw]) for name, raw in table.items()]
