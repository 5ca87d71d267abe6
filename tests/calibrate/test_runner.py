"""The order of measurements: rounds, budget, lack of memory, and what an interruption leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from orbitflow.calibrate.runner import MeasureTask, Sample, Samples, run_tasks


class HandClock:
    def __init__(self) -> None:
        self.time_s = 0.0

    def now_s(self) -> float:
        return self.time_s

    def sleep_until(self, due_s: float) -> None:
        self.time_s = max(self.time_s, due_s)


@dataclass
class Lab:
    """Tasks that take a second each; some of them fail."""

    limit: float = float("inf")
    stop_after: int = 10**6
    clock: HandClock = field(default_factory=HandClock)
    visited: list[tuple[str, float]] = field(default_factory=list)
    samples: Samples = field(default_factory=Samples)
    told: list[tuple[str, int, int]] = field(default_factory=list)
    error: Callable[[], Exception] = lambda: RuntimeError("CUDA out of memory. Tried ...")

    def task(self, curve: str, size: float) -> MeasureTask:
        def measure() -> Sequence[Sample]:
            if len(self.visited) == self.stop_after:
                raise KeyboardInterrupt
            self.visited.append((curve, size))
            self.clock.time_s += 1
            if curve == "decode" and size >= self.limit:
                raise self.error()
            return [Sample(curve, (size,), size / 100)]

        return MeasureTask(curve, size, f"{curve} of {size:g}", measure)

    def run(self, rounds: int = 2, budget_s: float = 1e9, seed: int = 0) -> list[str]:
        tasks = [self.task(curve, size) for curve in ("decode", "prefill") for size in (1, 2, 4, 8)]
        return list(
            run_tasks(
                tasks,
                self.samples,
                rounds=rounds,
                budget_s=budget_s,
                clock=self.clock,
                seed=seed,
                told=lambda *words: self.told.append(words),
            )
        )


def test_every_round_visits_all_in_another_order() -> None:
    lab, same, other = Lab(), Lab(), Lab()
    assert lab.run() == []
    first, second = lab.visited[:8], lab.visited[8:]
    assert set(first) == set(second)
    assert len(set(first)) == 8
    assert first != second
    same.run()
    other.run(seed=1)
    assert lab.visited == same.visited != other.visited
    assert all(point.repeats == 2 for point in lab.samples.points())


def test_curves_take_turns() -> None:
    lab = Lab()
    lab.run(rounds=1)
    curves = [curve for curve, _ in lab.visited]
    assert all(len({*curves[i : i + 2]}) == 2 for i in range(0, 8, 2))


def test_progress_is_told() -> None:
    lab = Lab()
    lab.run()
    assert [done for _, done, _ in lab.told] == list(range(17))
    assert {total for _, _, total in lab.told} == {16}


def test_the_budget_ends_later_rounds_only() -> None:
    lab = Lab()
    (notice,) = lab.run(rounds=5, budget_s=3)
    assert len(lab.visited) == 8  # the first round took 8 s, and nothing is asked in it
    assert "budget of 3 s was over in round 2 of 5" in notice


def test_out_of_memory_drops_what_is_as_large() -> None:
    lab = Lab(limit=4)
    notices = lab.run(rounds=3)
    decodes = [size for curve, size in lab.visited if curve == "decode"]
    failed = [size for size in decodes if size >= 4]
    assert 1 <= len(failed) <= 2  # 8 may come before 4
    assert len(notices) == len(failed)
    assert "does not fit on the device" in notices[0]
    assert [p.varied for p in lab.samples.points("decode")] == [(1,), (2,)]
    assert len(lab.samples.points("prefill")) == 4
    assert lab.told[-1][1] == lab.told[-1][2]


def test_other_failures_are_failures() -> None:
    lab = Lab(limit=1, error=lambda: RuntimeError("device-side assert"))
    with pytest.raises(RuntimeError, match="assert"):
        lab.run()


def test_torch_says_it_with_its_own_error() -> None:
    torch = pytest.importorskip("torch", reason="needs the torch extra")
    lab = Lab(limit=8, error=lambda: torch.OutOfMemoryError("no room"))
    assert len(lab.run()) == 1


def test_an_interruption_keeps_what_is_there() -> None:
    lab = Lab(stop_after=5)
    with pytest.raises(KeyboardInterrupt):
        lab.run()
    assert len(lab.samples.points()) == 5
