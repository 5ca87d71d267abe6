"""Policies of one scenario side by side, each in a process of its own.

What a policy does depends on the scenario alone, and each writes files of its own: the bytes are
those of one after another. The policy named last begins first, for in the default order it takes
longest. Processes tell how many requests are over in a file that all of them map into memory.
"""

from __future__ import annotations

import mmap
import pickle
import struct
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import NamedTuple

from orbitflow.errors import OrbitFlowError
from orbitflow.results.run_folder import OutputFolder
from orbitflow.results.summary import PolicyReport
from orbitflow.scenario import Scenario
from orbitflow.sim.run import simulate_policy
from orbitflow.study.worker import WorkerDied, WorkerPool

FEWEST_REQUESTS = 2_000  # for less it does not pay to start a process
_COUNT = struct.Struct("q")
_TELL_EVERY_S = 0.1


class Simulated(NamedTuple):
    """What a policy's run came to, and how long it took."""

    report: PolicyReport
    wall_s: float


def can_run_apart(scenario: Scenario, workers: int) -> bool:
    """Whether there is something to gain, and everything can be sent to another process."""
    if workers < 2 or len(scenario.policies) < 2 or len(scenario.trace) < FEWEST_REQUESTS:
        return False
    try:
        pickle.dumps(scenario)
    except (pickle.PicklingError, AttributeError, TypeError):  # a policy given as an object
        return False
    return True


def simulate_side_by_side(
    scenario: Scenario, folder: Path, workers: int, told: Callable[[str, int], None]
) -> Mapping[str, Simulated]:
    """Simulate every policy of a scenario into an open run folder, `workers` at a time. `told`
    hears how many requests of which policy are over.

    Raise what the first policy to fail raises; an OrbitFlowError if its process was killed.
    """
    names = scenario.policies
    with tempfile.NamedTemporaryFile() as counts:
        counts.truncate(_COUNT.size * len(names))
        with (
            mmap.mmap(counts.fileno(), 0, access=mmap.ACCESS_READ) as seen,
            WorkerPool(min(workers, len(names))) as pool,
        ):
            running: dict[Future[Simulated], str] = {}
            for number, name in reversed(list(enumerate(names))):
                call = pool.submit(_simulate, scenario, name, folder, counts.name, number)
                running[call] = name
            found = _collect(running, lambda: _tell(names, seen, told))
    return {name: found[name] for name in names}


def _collect(
    running: Mapping[Future[Simulated], str], tell: Callable[[], None]
) -> dict[str, Simulated]:
    found: dict[str, Simulated] = {}
    left = set(running)
    while left:
        done, left = wait(left, _TELL_EVERY_S, FIRST_COMPLETED)
        tell()
        for call in done:
            try:
                found[running[call]] = call.result()
            except WorkerDied:
                raise OrbitFlowError(
                    f"the process that simulated {running[call]} was killed (out of memory?): "
                    "take --workers 1"
                ) from None
    return found


def _tell(names: Sequence[str], seen: mmap.mmap, told: Callable[[str, int], None]) -> None:
    for number, name in enumerate(names):
        (count,) = _COUNT.unpack_from(seen, _COUNT.size * number)
        told(name, count)


def _simulate(scenario: Scenario, name: str, folder: Path, counts: str, number: int) -> Simulated:
    """In a process of its own: simulate one policy, and write how far it has come."""
    began_s = time.perf_counter()
    with open(counts, "r+b") as file, mmap.mmap(file.fileno(), 0) as shared:
        over = 0

        def advance(requests: int) -> None:
            nonlocal over
            over += requests
            _COUNT.pack_into(shared, _COUNT.size * number, over)

        report = simulate_policy(scenario, name, OutputFolder(folder), advance)
    return Simulated(report, time.perf_counter() - began_s)
