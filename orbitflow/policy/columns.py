"""Figures of requests that come and go, a column each: some of them are read in one operation.

    values[f, rows(ids)]       figure f of these requests, shape (ids,)

A request keeps its row until it goes. Row 0 is of nobody and holds what stands for no request, as
do the rows that are free.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from orbitflow.arrays import FloatArray, IntArray

_FIRST_ROWS = 64


class Columns:
    """`values`, shape (figures, rows), is replaced as it grows: do not keep it."""

    __slots__ = ("_free", "_rows", "_vacant", "values")

    def __init__(self, vacant: tuple[float, ...]) -> None:
        self._vacant = np.array(vacant)
        self._rows: dict[int, int] = {}
        self._free = list(range(_FIRST_ROWS - 1, 0, -1))
        self.values: FloatArray = np.repeat(self._vacant[:, None], _FIRST_ROWS, axis=1)

    def __contains__(self, request_id: int) -> bool:
        return request_id in self._rows

    def put(self, request_id: int, figures: tuple[float, ...]) -> None:
        """Take a request in."""
        if not self._free:
            rows = self.values.shape[1]
            self._free = list(range(2 * rows - 1, rows - 1, -1))
            vacant = np.repeat(self._vacant[:, None], rows, axis=1)
            self.values = np.concatenate([self.values, vacant], axis=1)
        row = self._rows[request_id] = self._free.pop()
        self.values[:, row] = figures

    def drop(self, request_id: int) -> None:
        """Let a request go, if it is there."""
        row = self._rows.pop(request_id, 0)
        if row:
            self.values[:, row] = self._vacant
            self._free.append(row)

    def row(self, request_id: int) -> int:
        """Raise a KeyError for a request that is not there."""
        return self._rows[request_id]

    def rows(self, request_ids: Iterable[int]) -> IntArray:
        """Raise a KeyError for a request that is not there."""
        rows = self._rows
        return np.array([rows[i] for i in request_ids], dtype=np.intp)

    def rows_or_nobody(self, request_ids: Iterable[int]) -> IntArray:
        """Row 0 for a request that is not there."""
        get = self._rows.get
        return np.array([get(i, 0) for i in request_ids], dtype=np.intp)
