"""A run's story over time, folded into buckets of equal length.

    mean of a bucket = integral over it / its length

of what holds during a step (running requests, link time, spread evenly over it) and of what holds
from one step's end to the next one's (waiting, parked, pages). Beside it, the largest value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from orbitflow.clock import FloatArray

BUCKETS = 240


class Band(NamedTuple):
    """A quantity by bucket: its mean and its largest value, shape (buckets,)."""

    mean: FloatArray
    most: FloatArray


class Timeline(NamedTuple):
    """What happened over time; `edges_s` has shape (buckets + 1,). Pages are of one layer."""

    edges_s: FloatArray
    running: Band
    waiting: Band
    parked: Band
    gpu_pages: Band
    host_pages: Band
    link_busy: FloatArray  # share of the bucket
    steps: int


def timeline(steps: Mapping[str, npt.NDArray[Any]], buckets: int = BUCKETS) -> Timeline:
    """Fold the columns of `steps.npz`, which must have a row at least."""
    start, end = steps["start_s"], steps["end_s"]
    edges = np.linspace(float(start[0]), max(float(end[-1]), float(start[0]) + 1e-9), buckets + 1)
    held_from = end
    held_to = np.append(end[1:], edges[-1])

    def during(name: str) -> Band:
        return _band(edges, start, end, steps[name].astype(np.float64))

    def after(name: str) -> Band:
        return _band(edges, held_from, held_to, steps[name].astype(np.float64))

    span = end - start
    busy = np.divide(steps["link_busy_s"], span, out=np.zeros(len(span)), where=span > 0)
    return Timeline(
        edges,
        during("decoding"),
        after("waiting"),
        after("parked"),
        after("gpu_pages"),
        after("host_pages"),
        _band(edges, start, end, busy).mean,
        len(start),
    )


def _band(edges: FloatArray, start: FloatArray, end: FloatArray, value: FloatArray) -> Band:
    """Fold a quantity that has a value in each of these intervals and is 0 between them."""
    knots = np.column_stack([start, end]).ravel()
    steps = np.column_stack([np.zeros(len(value)), value * (end - start)]).ravel()
    integral = np.interp(edges, knots, np.cumsum(steps))
    mean = np.diff(integral) / np.diff(edges)
    first = np.searchsorted(end, edges[:-1], side="right")
    last = np.searchsorted(start, edges[1:], side="left")
    most = np.array([value[a:b].max() if b > a else 0.0 for a, b in zip(first, last, strict=True)])
    return Band(mean, np.maximum(most, mean))
