"""The refiner: finds a lasting error, shrugs off noise and outliers, and then stays quiet."""

from __future__ import annotations

import random

import numpy as np
import pytest
from reference.lines import lines
from strategies import small_machine

from orbitflow.policy.refiner import DEFAULT, Refiner, Scale
from orbitflow.step import Move, MoveKind, Step, StepOutcome, Stream


@pytest.mark.parametrize("true", [0.5, 0.8, 1.3, 2.0])
def test_a_lasting_error_is_found_and_plans_follow(true: float) -> None:
    scale = Scale()
    alarms = [n for n in range(60) if scale.feed(true)]
    assert alarms[0] < 10
    assert scale.used == true


def test_a_later_change_is_found_too() -> None:
    scale = Scale()
    for _ in range(200):
        scale.feed(1.0)
    alarms = [n for n in range(80) if scale.feed(2.0)]
    assert alarms[0] < 20
    assert scale.used == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_noise_of_five_per_cent_raises_no_alarm(seed: int) -> None:
    scale, noise = Scale(), random.Random(seed)
    assert not any(scale.feed(noise.uniform(0.95, 1.05)) for _ in range(5000))
    assert scale.used == 1


def test_one_bad_sample_moves_little() -> None:
    scale = Scale()
    for _ in range(50):
        scale.feed(1.0)
    assert not scale.feed(20.0)
    assert scale.used == 1
    assert not any(scale.feed(1.0) for _ in range(50))


def test_nonsense_is_ignored() -> None:
    scale = Scale()
    assert not scale.feed(0.0)
    assert not scale.feed(-1.0)
    assert scale.used == 1


def _step(passes: int) -> tuple[Step, np.ndarray]:
    contexts = np.array([30, 50])
    stream = Stream((1, 3), (1, 3), contexts)
    step = Step(1, (), (0, 1), 80, contexts, (stream,), 40, (), passes, 1, False)
    return step, contexts


def test_compute_and_link_are_learned_apart() -> None:
    cost = small_machine().cost
    true = cost.slower(compute=1.3, link=2.0)
    refiner = Refiner(cost)
    step, contexts = _step(20)
    compute = np.array([true.decode_pass_s(2, 80 + 2 * j) for j in range(20)])
    link = 2 * true.stream_s(contexts, 20)[0]
    spans = np.maximum(compute, link)
    stall = spans - compute
    outcome = StepOutcome(
        5.0, 5.0 + np.cumsum(spans), float(stall.sum()), float(link.sum()), 0, 0, (), 0.0, stall
    )
    drifted = [refiner.learn(step, outcome) for _ in range(60)]
    assert any(drifted)
    assert not any(drifted[40:])
    assert refiner.compute.used == pytest.approx(1.3, rel=0.06)
    assert refiner.link.used == pytest.approx(2.0, rel=0.1)
    assert lines(refiner.cost).decode.base_s == pytest.approx(lines(true).decode.base_s, rel=0.06)
    assert refiner.cost.h2d.bytes_per_s[0] == pytest.approx(true.h2d.bytes_per_s[0], rel=0.1)


def test_a_right_profile_is_left_alone() -> None:
    cost = small_machine().cost
    refiner = Refiner(cost)
    step, contexts = _step(20)
    compute = np.array([cost.decode_pass_s(2, 80 + 2 * j) for j in range(20)])
    link = 2 * cost.stream_s(contexts, 20)[0]
    outcome = StepOutcome(
        0.0, np.cumsum(compute), 0.0, float(link.sum()), 0, 0, (), float(compute.sum())
    )
    assert not any(refiner.learn(step, outcome) for _ in range(50))
    assert refiner.cost is cost


def _outcome(link_s: float, done: tuple[int, ...] = ()) -> StepOutcome:
    return StepOutcome(0.0, np.full(20, 1.0), 0.0, link_s, 0, 0, done, 1.0)


def test_the_link_is_not_judged_by_a_load_that_an_earlier_step_asked_for() -> None:
    """Its whole time is booked where it ends, beside what little that step streams."""
    refiner = Refiner(small_machine().cost)
    step, contexts = _step(20)
    link_s = 2 * float(refiner.cost.stream_s(contexts, 20)[0].sum())
    for number in range(20):
        load = Move(number, MoveKind.LOAD, 9, (0, 2), 50, False)
        assert not refiner.learn(step._replace(moves=(load,)), _outcome(link_s))
        refiner.learn(step, _outcome(30 * link_s, (number,)))
        refiner.learn(step, _outcome(link_s))
    assert refiner.link.used == 1


def test_a_slow_link_that_is_used_no_more_is_tried_again() -> None:
    refiner = Refiner(small_machine().cost)
    step, contexts = _step(20)
    link_s = 2 * float(refiner.cost.stream_s(contexts, 20)[0].sum())
    for _ in range(10):
        refiner.learn(step, _outcome(5 * link_s))
    assert refiner.link.used == pytest.approx(5.0, rel=0.1)
    quiet = step._replace(streams=())
    heard = [refiner.learn(quiet, _outcome(0.0)) for _ in range(DEFAULT.forget_passes // 20 + 1)]
    assert heard[-1], "plans are made anew"
    assert refiner.link.used == 1
    assert refiner.cost.h2d == small_machine().cost.h2d
