"""The independent check: every way in which a plan can be wrong is found."""

from __future__ import annotations

import pytest
from orbitflow.machine.pipeline import Overlap
from reference.plans import random_problem
from strategies import small_machine

from orbitflow.placement import RESIDENT, stride
from orbitflow.planner.check import faults
from orbitflow.planner.problem import REST, Asked, Choice, Problem
from orbitflow.planner.score import Score, score
from orbitflow.planner.search import search

OPTIONS = (RESIDENT, stride(6, 1))


def _problem(gpu_tokens: int = 100, *, uniform: bool = False) -> Problem:
    machine = small_machine(gpu_tokens)
    asked = (Asked(7, 41, 0.05, 1.0, RESIDENT, True), Asked(9, 33, 0.05, 1.0, RESIDENT, False))
    return Problem(machine.cost, machine.limits, Overlap.RING, 2, 4, asked, OPTIONS, uniform)


def _faults(problem: Problem, options: tuple[int, ...], pass_s: float | None = None) -> list[str]:
    ample = Problem(problem.cost, small_machine(10_000).limits, problem.overlap, 2, 4,
                    problem.requests, problem.options)  # fmt: skip
    known = [o if o in (0, 1, REST) else 0 for o in options][:2]
    worth = score(ample, Choice(tuple(known + [0] * (2 - len(known)))))
    claimed = worth if worth is not None else Score(0.0, 0.1, 0, 0.0, 0.0, 0, 0.1, 0, 0.1)
    return faults(
        problem, Choice(options), claimed if pass_s is None else claimed._replace(pass_s=pass_s)
    )


def test_a_sound_plan_has_no_faults() -> None:
    assert _faults(_problem(), (0, 0)) == []
    assert _faults(_problem(), (REST, 1)) == []


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ((0,), "options for 2 requests"),
        ((0, 5), "does not exist"),
        ((0, -2), "does not exist"),
        ((0, REST), "request 9 must not be parked"),
        ((REST, REST), "nobody runs"),
    ],
)
def test_nonsense_is_named(options: tuple[int, ...], word: str) -> None:
    assert any(word in fault for fault in _faults(_problem(), options))


def test_memory_is_counted_to_the_page() -> None:
    # At the window's end 44 and 36 tokens: 11 + 9 pages in each of 6 layers.
    assert _faults(_problem(80), (0, 0)) == []
    assert _faults(_problem(76), (0, 0)) == ["needs 120 GPU pages of 114"]


def test_one_placement_for_all_means_all() -> None:
    assert "different placements" in _faults(_problem(uniform=True), (0, 1))[0]


def test_a_wrong_claim_is_found() -> None:
    assert "claims a pass of" in _faults(_problem(), (0, 0), pass_s=1e-3)[0]


def test_the_search_and_the_check_agree_on_random_problems() -> None:
    for seed in range(300):
        problem = random_problem(seed)
        found = search(problem)
        if found is not None:
            assert faults(problem, found.choice, found.score) == []
