"""Measurements: the order in which they are made, and what their repeats come to.

    round 1 visits every task once; later rounds repeat them as long as the budget of time lasts
    middle = mean of the middle half,   spread = median |repeat - middle| / middle

Each round is shuffled anew by the seed, so a machine that drifts does not tilt a curve. Curves take
turns, so an interrupted calibration has some points of each. A task that runs out of device memory
takes with it all tasks of its curve that are as large or larger.

The middle leaves out single passes that something else slowed down, as a median does. On a shared
machine that alternates between two speeds it lies in between, like the time that a run takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from orbitflow.backend.clock import Clock

Told = Callable[[str, int, int], None]  # what is measured, tasks done, tasks in all


class MeasureTask(NamedTuple):
    """Something to measure. `size` orders the tasks of a curve by the memory they need."""

    curve: str
    size: float
    label: str
    measure: Callable[[], Sequence[Sample]]


class Sample(NamedTuple):
    """One measurement of one point of a curve."""

    curve: str
    varied: tuple[float, ...]
    seconds: float


class SweepPoint(NamedTuple):
    """A point: the middle of its repeats in seconds, and their spread."""

    curve: str
    varied: tuple[float, ...]
    seconds: float
    relative_spread: float
    repeats: int


class Samples:
    """All measurements of a calibration, in the order in which they were made."""

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        self._samples = list(samples)

    def add(self, samples: Iterable[Sample]) -> None:
        """Add measurements."""
        self._samples += samples

    def points(self, *curves: str) -> tuple[SweepPoint, ...]:
        """The points of these curves (all if none is given), by curve and what was varied."""
        found: dict[tuple[str, tuple[float, ...]], list[float]] = {}
        for curve, varied, seconds in self._samples:
            if not curves or curve in curves:
                found.setdefault((curve, varied), []).append(seconds)
        return tuple(_measured(*key, repeats) for key, repeats in sorted(found.items()))


def _measured(curve: str, varied: tuple[float, ...], repeats: Sequence[float]) -> SweepPoint:
    value = middle_mean(repeats)
    spread = float(np.median(np.abs(np.array(repeats) - value)))
    return SweepPoint(curve, varied, value, spread / value if value else 0.0, len(repeats))


def middle_mean(values: Sequence[float]) -> float:
    """Mean of what is left without the largest and the smallest quarter, rounded up."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    cut = -(-len(ordered) // 4) if len(ordered) > 2 else 0
    return float(ordered[cut : len(ordered) - cut].mean())


def run_tasks(
    tasks: Sequence[MeasureTask],
    samples: Samples,
    *,
    rounds: int,
    budget_s: float,
    clock: Clock,
    seed: int,
    told: Told | None = None,
) -> Iterator[str]:
    """Measure into `samples`; yield notices. An error leaves `samples` as they are by then."""
    dice, began_s = np.random.Generator(np.random.PCG64(seed)), clock.now_s()
    left, total, done = list(tasks), len(tasks) * rounds, 0
    for number in range(rounds):
        for task in _in_turn([left[place] for place in dice.permutation(len(left))]):
            if task not in left:
                continue
            if number and clock.now_s() - began_s > budget_s:
                yield f"the budget of {budget_s:g} s was over in round {number + 1} of {rounds}"
                left, total = [], done
                continue
            if told is not None:
                told(task.label, done, total)
            try:
                samples.add(task.measure())
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                gone = [t for t in left if t.curve == task.curve and t.size >= task.size]
                left = [t for t in left if t not in gone]
                total -= len(gone) * (rounds - number)
                yield (
                    f"{task.label} does not fit on the device: "
                    f"{len(gone)} of {len(tasks)} measurements left out"
                )
            done += 1
    if told is not None:
        told("fitting", total, total)


def _in_turn(tasks: Sequence[MeasureTask]) -> list[MeasureTask]:
    """One task of each curve, then a second of each, and so on; else in the same order."""
    met: Counter[str] = Counter()
    turns = []
    for task in tasks:
        met[task.curve] += 1
        turns.append(met[task.curve])
    return [task for _, task in sorted(zip(turns, tasks, strict=True), key=lambda pair: pair[0])]


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocation on the device failed; torch's own error is a RuntimeError too."""
    return type(error).__name__ == "OutOfMemoryError" or "out of memory" in str(error).lower()
