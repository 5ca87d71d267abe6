"""The order of measurements: rounds over all tasks, each round shuffled anew by the seed.

    round 1 visits every task once, later rounds repeat them as long as the budget of time lasts

so a machine that drifts does not tilt a curve. Curves take turns, so who breaks off soon has some
of each. A task that runs out of device memory takes all of its curve that are as large, or larger,
with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from orbitflow.backend.clock import Clock

Told = Callable[[str, int, int], None]  # what is measured, tasks done, tasks in all


class Task(NamedTuple):
    """Something to measure. `size` orders the tasks of a curve by the memory they need."""

    curve: str
    size: float
    label: str
    measure: Callable[[], Sequence[Sample]]


def run_tasks(
    tasks: Sequence[Task],
    samples: Samples,
    *,
    rounds: int,
    budget_s: float,
    clock: Clock,
    seed: int,
    told: Told | None = None,
) -> Iterator[str]:
    """Measure into `samples`; yield notices. What is there stays there whatever is raised."""
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


def _in_turn(tasks: Sequence[Task]) -> list[Task]:
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
