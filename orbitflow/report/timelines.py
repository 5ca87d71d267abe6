"""A run's story over time, folded into buckets of equal length.

    mean of a bucket = integral over it / its length

of what holds during a step (link time, spread evenly over it), of what decisions and the ends of
steps change (pages), and of the number of requests in a state, which arrivals, admissions, ends and
decisions change. Beside it, the largest value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from orbitflow.arrays import FloatArray
from orbitflow.report.read_files import LoggedDecision

BUCKETS = 240


class Band(NamedTuple):
    """A quantity by bucket: its mean and its largest value, shape (buckets,)."""

    mean: FloatArray
    most: FloatArray


class Timeline(NamedTuple):
    """What happened over time; `edges_s` has shape (buckets + 1,). Pages are of one layer.

    Who runs was admitted, is not parked and not done; requests that failed never wait.
    """

    edges_s: FloatArray
    running: Band
    waiting: Band
    parked: Band
    gpu_pages: Band
    host_pages: Band
    link_busy: FloatArray  # share of the bucket
    steps: int


def timeline(
    steps: Mapping[str, npt.NDArray[Any]],
    requests: Mapping[str, FloatArray],
    decisions: Sequence[LoggedDecision],
    buckets: int = BUCKETS,
) -> Timeline:
    """Fold what a policy's files say; there must be a step at least."""
    start, end = steps["start_s"], steps["end_s"]
    edges = np.linspace(float(start[0]), max(float(end[-1]), float(start[0]) + 1e-9), buckets + 1)
    span = end - start
    busy = np.divide(steps["link_busy_s"], span, out=np.zeros(len(span)), where=span > 0)
    served = ~np.isnan(requests["admitted_s"])
    arrived, admitted = requests["arrival_s"][served], requests["admitted_s"][served]
    decided = np.array([d.t_s for d in decisions])
    parked = np.array([d.t_s for d in decisions for _ in (*d.park, *d.drop)])
    resumed = np.array([d.t_s for d in decisions for _ in d.resume])
    ended = requests["last_token_s"][served]
    return Timeline(
        edges,
        _count(edges, [admitted, resumed], [parked, ended]),
        _count(edges, [arrived], [admitted]),
        _count(edges, [parked], [resumed]),
        _held(edges, decided, [d.gpu_pages for d in decisions], end, steps["gpu_pages"]),
        _held(edges, decided, [d.host_pages for d in decisions], end, steps["host_pages"]),
        _band(edges, start, end, busy).mean,
        len(start),
    )


def _held(
    edges: FloatArray,
    decided: FloatArray,
    then: Sequence[int],
    ended: FloatArray,
    after: npt.NDArray[Any],
) -> Band:
    """Pages held: known after every decision and after every step, the same until the next."""
    times = np.concatenate([ended, decided, edges[-1:]])
    values = np.concatenate([after, then, [0]]).astype(np.float64)
    order = np.argsort(times, kind="stable")  # at one time the step's end comes first
    times, values = times[order], values[order]
    return _band(edges, times[:-1], times[1:], values[:-1])


def _count(edges: FloatArray, come: Sequence[FloatArray], go: Sequence[FloatArray]) -> Band:
    """How many are there, given when each comes and when each goes."""
    changes = [np.ones(len(times)) for times in come] + [-np.ones(len(times)) for times in go]
    times, places = np.unique(
        np.concatenate([*come, *go, edges[[0, -1]]]), return_inverse=True
    )  # what happens at one time happens at once
    there: FloatArray = np.cumsum(np.bincount(places, np.concatenate([*changes, [0.0, 0.0]])))
    return _band(edges, times[:-1], times[1:], there[:-1])


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
