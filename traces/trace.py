"""A trace in memory: columns, sorted by arrival, checked once and immutable from then on.

Arrivals count from the first request and lie on a grid of nanoseconds, so that a trace which was
written and read again is the same to the bit. The paper's files count arrivals in engine steps;
who knows how long a step takes turns them into seconds with `in_seconds`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Literal, TypeAlias

import numpy as np

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.errors import TraceError, UserError
from orbitflow.request import Request

ArrivalUnit: TypeAlias = Literal["s", "steps"]

MAX_TOKENS = 10**9
"""No request is longer; a larger number in a file is a mistake, and would overflow sums."""

MAX_SPAN_S = 1e12
"""Thirty thousand years: keeps times far from overflow."""


_CHUNK = 4096  # requests made at a time; few enough to stay in the processor's cache


def on_grid(arrival: FloatArray, out: FloatArray | None = None) -> FloatArray:
    """Round times in seconds to whole nanoseconds, in `out` if given."""
    nanoseconds: FloatArray = np.multiply(arrival, 1e9, out=out)
    np.round(nanoseconds, out=nanoseconds)
    nanoseconds /= 1e9
    return nanoseconds


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Requests as columns, in order of arrival. NaN in an SLO column: that request has none."""

    name: str
    source: str
    format: str
    arrival: FloatArray
    arrival_unit: ArrivalUnit
    prompt_tokens: IntArray
    output_tokens: IntArray
    slo_tbt_s: FloatArray | None = None
    slo_ttft_s: FloatArray | None = None
    max_batch: int | None = None
    kv_capacity_tokens: int | None = None
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._settle("arrival", np.float64)
        self._settle("prompt_tokens", np.int64)
        self._settle("output_tokens", np.int64)
        self._settle("slo_tbt_s", np.float64)
        self._settle("slo_ttft_s", np.float64)
        self._drop_empty("slo_tbt_s")
        self._drop_empty("slo_ttft_s")
        self._check_arrival()
        for field in ("prompt_tokens", "output_tokens"):
            self._check_tokens(field)
        for field in ("slo_tbt_s", "slo_ttft_s"):
            self._check_limit(field)

    def __len__(self) -> int:
        return len(self.arrival)

    def final_tokens(self) -> IntArray:
        """KV that each request holds when its last token comes out."""
        return self.prompt_tokens + self.output_tokens - 1

    def in_seconds(self, step_s: float) -> Trace:
        """Return the trace with arrivals in seconds, an engine step lasting `step_s`.

        A trace that is in seconds already comes back as it is.
        """
        if self.arrival_unit == "s":
            return self
        if not (math.isfinite(step_s) and step_s > 0):
            raise UserError(f"a step of {step_s} s: must be finite and more than 0, such as 0.05")
        if float(self.arrival[-1]) * step_s > MAX_SPAN_S:
            raise UserError(f"a step of {step_s} s: the trace would last over {MAX_SPAN_S:.0e} s")
        notice = f"{self.name}: arrivals in engine steps, taken as {step_s:.6g} s each"
        return replace(
            self,
            arrival=on_grid(self.arrival * step_s),
            arrival_unit="s",
            notices=(*self.notices, notice),
        )

    def requests(self) -> Iterator[Request]:
        """Give the requests, numbered from 0 in order of arrival, made as they are asked for.

        Raise a TraceError if arrivals are still in engine steps.
        """
        if self.arrival_unit != "s":
            raise TraceError(
                f"{self.name}: arrivals are in engine steps; in_seconds(step_s) gives them a length"
            )
        chunks = (slice(at, at + _CHUNK) for at in range(0, len(self), _CHUNK))
        return chain.from_iterable(map(self._requests, chunks))

    def _requests(self, chunk: slice) -> Iterator[Request]:
        return map(
            Request,
            range(*chunk.indices(len(self))),
            self.arrival[chunk].tolist(),
            self.prompt_tokens[chunk].tolist(),
            self.output_tokens[chunk].tolist(),
            _limits(self.slo_tbt_s, chunk),
            _limits(self.slo_ttft_s, chunk),
        )

    def _settle(self, field: str, kind: type[np.generic]) -> None:
        """Make a column read-only and of its type; the caller's own array stays writable."""
        column = getattr(self, field)
        if column is not None:
            column = np.ascontiguousarray(column, dtype=kind).view()
            column.flags.writeable = False
            object.__setattr__(self, field, column)

    def _drop_empty(self, field: str) -> None:
        column = getattr(self, field)
        if column is not None and np.isnan(column).all():
            object.__setattr__(self, field, None)

    def _check_arrival(self) -> None:
        if len(self) == 0:
            raise TraceError(f"{self.name}: no requests; expected at least one")
        if not np.isfinite(self.arrival).all() or self.arrival[0] < 0:
            raise TraceError(f"{self.name}: an arrival is negative or not finite")
        if (self.arrival[1:] < self.arrival[:-1]).any():
            raise TraceError(f"{self.name}: arrivals are not in order")

    def _check_tokens(self, field: str) -> None:
        column = getattr(self, field)
        if len(column) != len(self):
            raise TraceError(f"{self.name}: {len(column)} {field} for {len(self)} arrivals")
        low, high = column.min(), column.max()
        if low < 1 or high > MAX_TOKENS:
            worst = low if low < 1 else high
            raise TraceError(f"{self.name}: {field} of {worst}; expected 1 to {MAX_TOKENS:,}")

    def _check_limit(self, field: str) -> None:
        column = getattr(self, field)
        if column is None:
            return
        if len(column) != len(self):
            raise TraceError(f"{self.name}: {len(column)} {field} for {len(self)} arrivals")
        if (column <= 0).any() or np.isinf(column).any():
            raise TraceError(f"{self.name}: a {field} is not finite and more than 0")


def _limits(column: FloatArray | None, chunk: slice) -> Iterable[float | None]:
    if column is None:
        return repeat(None)
    return [None if limit != limit else limit for limit in column[chunk].tolist()]
