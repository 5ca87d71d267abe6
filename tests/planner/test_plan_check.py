"""The independent check: every way in which a plan can be wrong is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from strategies import small_machine

from orbitflow.machine.pipeline import Overlap
from orbitflow.memory import pages_at_end
from orbitflow.placement import RESIDENT, stride
from orbitflow.planner.check import faults, gpu_pages
from orbitflow.planner.problem import REST, Candidate, PlanWeights, Problem
from orbitflow.planner.score import Score, score

PLACEMENTS = (RESIDENT, stride(6, 1))
NOTHING = Score(0.0, 0.0, 0, 0.1, 0.1, 0.1, 0.0, 0, 0)


def _problem(gpu_tokens: int = 100, *, uniform: bool = False) -> Problem:
    machine = small_machine(gpu_tokens)
    asked = (
        Candidate(7, 41, 0.05, 1.0, RESIDENT, True),
        Candidate(9, 33, 0.05, 1.0, RESIDENT, False),
    )
    weights = PlanWeights((0.05, 0.05), 0.1)
    return Problem(
        machine.cost, machine.limits, Overlap.RING, 2, 4, asked, PLACEMENTS, weights, uniform
    )


def _faults(problem: Problem, options: tuple[int, ...], **claims: Any) -> list[str]:
    ample = replace(problem, limits=small_machine(10_000).limits, is_uniform=False)
    sound = len(options) == 2 and all(o in (0, 1, REST) for o in options)
    claimed = (score(ample, options) if sound else None) or NOTHING
    return faults(problem, options, claimed._replace(**claims))


def test_a_sound_plan_has_no_faults() -> None:
    assert _faults(_problem(), (0, 0)) == []
    assert _faults(_problem(), (REST, 1)) == []


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ((0,), "options for 2 requests"),
        ((0, 5), "does not exist"),
        ((0, -2), "does not exist"),
        ((0, REST), "request 9 must not be paused"),
        ((REST, REST), "nobody runs"),
    ],
)
def test_nonsense_is_named(options: tuple[int, ...], word: str) -> None:
    assert any(word in fault for fault in _faults(_problem(), options))


def test_any_number_of_layers_is_an_option_up_to_all() -> None:
    problem = replace(_problem(), placements=None)
    assert "does not exist" in _faults(problem, (0, 7))[0]


def test_memory_is_counted_to_the_page() -> None:
    # At the window's end 44 and 36 tokens: 11 + 9 pages in each of 6 layers.
    assert _faults(_problem(80), (0, 0)) == []
    assert _faults(_problem(76), (0, 0)) == ["needs 120 GPU pages of 114"]


def test_what_a_plan_of_placements_counts_is_enough_for_the_account() -> None:
    problem = replace(_problem(), placements=(RESIDENT, (5,), (2, 5), (1, 3, 5)))
    contexts = [one.context_tokens for one in problem.candidates]
    for options in ((0, 1), (1, 1), (2, 3), (3, 3)):
        placed = [(RESIDENT, (5,), (2, 5), (1, 3, 5))[o] for o in options]
        exact = pages_at_end(problem.limits, np.array(contexts), placed, 2, problem.passes)
        assert gpu_pages(problem, options) == exact, "all of these meet in layer 5"
    apart = replace(problem, placements=(RESIDENT, (1,), (2,)))
    exact = pages_at_end(problem.limits, np.array(contexts), [(1,), (2,)], 2, problem.passes)
    assert gpu_pages(apart, (1, 2)) > exact


def test_one_placement_for_all_means_all() -> None:
    assert "different placements" in _faults(_problem(uniform=True), (0, 1))[0]


def test_who_is_to_rest_first_rests_first() -> None:
    problem = replace(_problem(), rest_order=(1, 0))
    assert "is to rest first" in " ".join(_faults(problem, (REST, 0)))
    assert _faults(problem, (0, 0)) == []


@pytest.mark.parametrize(
    ("claim", "word"),
    [
        ({"pass_s": 1e-3}, "seconds a pass"),
        ({"span_s": 99.0}, "seconds in all"),
        ({"loss": 5.0}, "lost tokens"),
        ({"gpu_pages": 3}, "GPU pages"),
        ({"loss": float("nan")}, "lost tokens"),
    ],
)
def test_a_wrong_claim_is_found(claim: dict[str, Any], word: str) -> None:
    (fault,) = _faults(_problem(), (0, 0), **claim)
    assert word in fault
    assert "claims" in fault
