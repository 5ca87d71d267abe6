"""What a run leaves for whoever asks later: its requests and steps, in memory or in a folder.

In memory a request takes some 150 bytes and a step 112; decisions and gaps are not kept, since
nobody is given them. A run with a folder keeps nothing in memory: its files are read when asked
for.
"""

from __future__ import annotations

import contextlib
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TextIO, TypeAlias, cast, get_type_hints

import msgspec
import numpy as np
import numpy.typing as npt

from orbitflow.formats.columns import read_columns
from orbitflow.formats.reading import read_lines
from orbitflow.formats.records import Natural, Real
from orbitflow.results.request_result import RequestResult

Columns: TypeAlias = dict[str, npt.NDArray[Any]]
_REQUESTS, _STEPS = "requests.jsonl", "steps.npz"
_REMEDY = "run it again"
_RANGES: Mapping[Any, Any] = {int: Natural, float: Real, float | None: Real | None}
_HINTS = get_type_hints(RequestResult)
_Line = msgspec.defstruct("_Line", [(n, _RANGES.get(hint, hint)) for n, hint in _HINTS.items()])
_row = msgspec.json.Decoder(_Line).decode


class RunTables(Protocol):
    """Where the requests and steps of a run are."""

    def requests(self, policy: str) -> Columns:
        """A policy's requests, in the order in which they ended: the keys of `requests.jsonl`."""
        ...

    def steps(self, policy: str) -> Columns:
        """A policy's steps: the columns of `steps.npz`."""
        ...


class RequestColumns:
    """Lines of `requests.jsonl` as columns, whose types are those of `RequestResult`. A time that
    is not there is NaN.
    """

    def __init__(self) -> None:
        self._columns = {name: _empty(hint) for name, hint in _HINTS.items()}

    def write(self, text: str) -> int:
        """Take whole lines."""
        for line in text.splitlines():
            self.add(_row(line))
        return len(text)

    def columns(self) -> Columns:
        """The columns by name."""
        return {name: _settled(column) for name, column in self._columns.items()}

    def add(self, row: msgspec.Struct) -> None:
        """Take one line, decoded."""
        for name, column in self._columns.items():
            value = getattr(row, name)
            missing = value is None and isinstance(column, array)
            column.append(np.nan if missing else value)


class MemoryOutputs:
    """Outputs of a run without a folder."""

    def __init__(self) -> None:
        self._requests: dict[str, RequestColumns] = {}
        self._blocks: dict[str, _Blocks] = {}

    @contextlib.contextmanager
    def lines(self, name: str) -> Iterator[TextIO]:
        """Open a file of lines, which is kept if it has requests."""
        policy, _, file = name.rpartition("/")
        if file == _REQUESTS:
            self._requests[policy] = RequestColumns()
            yield cast(TextIO, self._requests[policy])  # of which a run only wants `write`
            return
        with open(os.devnull, "w", encoding="utf-8") as out:
            yield out

    @contextlib.contextmanager
    def columns(self, name: str) -> Iterator[_Blocks]:
        """Open a file of columns, which is kept if it has steps."""
        policy, _, file = name.rpartition("/")
        blocks = _Blocks(keeps=file == _STEPS)
        if blocks.keeps:
            self._blocks[policy] = blocks
        yield blocks

    def requests(self, policy: str) -> Columns:
        """A policy's requests."""
        return self._requests[policy].columns()

    def steps(self, policy: str) -> Columns:
        """A policy's steps."""
        return self._blocks[policy].joined()


class FolderOutputs:
    """Outputs of a run that are in its folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def requests(self, policy: str) -> Columns:
        """A policy's requests. Raise a UserError if the file is gone or broken."""
        found = RequestColumns()
        path = self.path / policy / _REQUESTS
        for row in read_lines(path, _row, _REMEDY):
            found.add(row)
        return found.columns()

    def steps(self, policy: str) -> Columns:
        """A policy's steps. Raise a UserError if the file is gone or broken."""
        return dict(read_columns(self.path / policy / _STEPS, _REMEDY))


class _Blocks:
    """Blocks of rows, kept as they come, or forgotten."""

    def __init__(self, *, keeps: bool) -> None:
        self.keeps = keeps
        self._blocks: list[Columns] = []

    def write(self, block: Mapping[str, array[Any]]) -> None:
        """Take rows by column; the writer uses its columns again."""
        if self.keeps:
            self._blocks.append({name: np.array(column) for name, column in block.items()})

    def joined(self) -> Columns:
        """All rows by column."""
        if len(self._blocks) > 1:
            names = self._blocks[0]
            self._blocks = [{n: np.concatenate([b[n] for b in self._blocks]) for n in names}]
        return dict(self._blocks[0])


def _empty(hint: Any) -> array[Any] | list[Any]:
    """A column for values of a type."""
    if hint is bool:
        return array("b")
    if hint is int:
        return array("q")
    return array("d") if hint in (float, float | None) else []


def _settled(values: Iterable[Any]) -> npt.NDArray[Any]:
    if isinstance(values, array):
        found = np.array(values)
        return found.astype(np.bool_) if values.typecode == "b" else found
    return np.array(list(values), dtype=object)
