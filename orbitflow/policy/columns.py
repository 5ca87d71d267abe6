"""Figures of requests that come and go, a column each: those of all are read in one operation.

    all[f]                     figure f of every request, shape (requests,), in no particular order
    values[f, rows(ids)]       of these, shape (ids,), in this order

The last request takes the place of one that goes, so there are no gaps. Two objects that have the
same requests put in and dropped in the same order have them in the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from orbitflow.arrays import FloatArray, IntArray

_FIRST_ROWS = 64


class MemberColumns:
    """`values`, shape (figures, rows), is replaced as it grows: do not keep it."""

    __slots__ = ("_ids", "_rows", "values")

    def __init__(self, figures: int) -> None:
        self._ids: list[int] = []  # by row
        self._rows: dict[int, int] = {}
        self.values: FloatArray = np.zeros((figures, _FIRST_ROWS))

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, request_id: int) -> bool:
        return request_id in self._rows

    @property
    def all(self) -> FloatArray:
        """What is held of all requests, shape (figures, requests): a view."""
        return self.values[:, : len(self._ids)]

    def put(self, request_id: int, figures: tuple[float, ...]) -> None:
        """Take in a request that is not there."""
        row = len(self._ids)
        if row == self.values.shape[1]:
            self.values = np.concatenate([self.values, np.zeros_like(self.values)], axis=1)
        self._ids.append(request_id)
        self._rows[request_id] = row
        self.values[:, row] = figures

    def drop(self, request_id: int) -> None:
        """Let a request go. Raise a KeyError for one that is not there."""
        row, last = self._rows.pop(request_id), self._ids.pop()
        if last != request_id:
            self._ids[row], self._rows[last] = last, row
            self.values[:, row] = self.values[:, len(self._ids)]

    def row(self, request_id: int) -> int:
        """Raise a KeyError for a request that is not there."""
        return self._rows[request_id]

    def rows(self, request_ids: Iterable[int]) -> IntArray:
        """Raise a KeyError for a request that is not there."""
        rows = self._rows
        return np.array([rows[i] for i in request_ids], dtype=np.intp)
