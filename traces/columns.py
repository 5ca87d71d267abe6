"""Columns that grow: what a reader keeps of a file, eight bytes per field and request."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.traces.rows import TraceRow
from orbitflow.traces.trace import on_grid


@dataclass(slots=True)
class Columns:
    """Requests in order; the columns of limits stay short where the last requests have none."""

    arrival: array[float] = field(default_factory=lambda: array("d"))
    prompt_tokens: array[int] = field(default_factory=lambda: array("q"))
    output_tokens: array[int] = field(default_factory=lambda: array("q"))
    slo_tbt_s: array[float] = field(default_factory=lambda: array("d"))
    slo_ttft_s: array[float] = field(default_factory=lambda: array("d"))

    def extend(self, rows: Iterable[TraceRow]) -> None:
        add_arrival, add_prompt = self.arrival.append, self.prompt_tokens.append
        add_output = self.output_tokens.append
        for count, (_, at, prompt, output, tbt_s, ttft_s, _) in enumerate(rows):
            add_arrival(at)
            add_prompt(prompt)
            add_output(output)
            if tbt_s is not None:
                _put(self.slo_tbt_s, count, tbt_s)
            if ttft_s is not None:
                _put(self.slo_ttft_s, count, ttft_s)

    def add(self, arrival: FloatArray, prompt_tokens: IntArray, output_tokens: IntArray) -> None:
        """Append many requests, none with limits."""
        self.arrival.frombytes(arrival.tobytes())
        self.prompt_tokens.frombytes(prompt_tokens.tobytes())
        self.output_tokens.frombytes(output_tokens.tobytes())

    def first(self, count: int | None) -> Columns:
        """Drop all but the first requests, and return what is left."""
        if count is not None:
            for column in (self.arrival, self.prompt_tokens, self.output_tokens):
                del column[count:]
        return self

    def since_the_first(self) -> FloatArray:
        """Turn the arrivals, in place, into times since the first of them."""
        stamps = np.frombuffer(self.arrival, dtype=np.float64)
        stamps -= stamps[0]
        return on_grid(stamps, out=stamps)


def _put(column: array[float], place: int, value: float) -> None:
    column.extend(repeat(math.nan, place - len(column)))
    column.append(value)


def padded(column: array[float], length: int) -> FloatArray | None:
    """Return a column of limits at full length; None if no request has one."""
    if not column:
        return None
    values = np.full(length, math.nan)
    values[: len(column)] = column
    return values
