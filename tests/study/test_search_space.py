"""The space of a search: how it is read, and that everything drawn lies in it."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitflow.errors import UserError
from orbitflow.study.figures import DIRECTIONS, NO_DIRECTION, read_objective
from orbitflow.study.keys import POLICY, Direction, Sampler
from orbitflow.study.search import Choices, NumberRange, Search, read_space, size_of
from orbitflow.study.task import StudyTask, do_task
from study.conftest import MakeStudy

GOAL = read_objective("timely_share", None)


@st.composite
def ranges(draw: st.DrawFn) -> NumberRange:
    """Ranges as they can be read, of whole and other numbers."""
    is_log, is_whole = draw(st.booleans()), draw(st.booleans())
    least = 1 if is_log and is_whole else (1e-6 if is_log else 0)
    numbers = st.integers(int(least), 10**12) if is_whole else st.floats(least, 1e9)
    low, high = sorted((float(draw(numbers)), float(draw(numbers))))
    return NumberRange(low, high if high > low else low + 1, is_log, is_whole)


shares = st.floats(0, 1, exclude_max=True)


@given(ranges(), shares)
def test_what_is_drawn_lies_in_the_range(domain: NumberRange, share: float) -> None:
    value = domain.at(share)
    assert isinstance(value, int if domain.is_whole else float)
    assert domain.low <= float(value) <= domain.high
    assert domain.settled(float(value)) == value


@given(ranges(), shares)
def test_a_log_range_is_uniform_in_logarithms(domain: NumberRange, share: float) -> None:
    if not domain.is_log or domain.is_whole:
        return
    low, high = math.log(domain.low), math.log(domain.high)
    found = math.log(float(domain.at(share)))
    assert found == pytest.approx(low + share * (high - low), abs=5e-6)  # six digits are kept


@pytest.mark.parametrize("is_log", [False, True])
def test_all_whole_numbers_come_with_their_share(is_log: bool) -> None:
    domain = NumberRange(1, 4, is_log, True)
    drawn = Counter(domain.at((n + 0.5) / 9000) for n in range(9000))
    edges = [0.5, 1.5, 2.5, 3.5, 4.5]
    weigh = math.log if is_log else float
    for number in (1, 2, 3, 4):
        share = (weigh(edges[number]) - weigh(edges[number - 1])) / (weigh(4.5) - weigh(0.5))
        assert drawn[number] == pytest.approx(9000 * share, abs=2)


def test_the_ends_of_every_share() -> None:
    below_1 = math.nextafter(1, 0)
    assert NumberRange(1, 3, False, True).at(0) == 1
    assert NumberRange(1, 3, False, True).at(below_1) == 3
    assert NumberRange(0.1, 0.30000001, False, False).at(below_1) == 0.3
    assert Choices(("a", "b")).at(below_1) == "b"


def test_a_space_is_read_with_the_units_of_the_command_line() -> None:
    space = read_space(
        ["slo-tbt=50ms..0.2s:log", "gpu_memory=16GiB..24GiB", "max-batch=1..64", "victim=longest"],
        ["orbitflow"],
    )
    assert list(space.items()) == [
        (POLICY, Choices(("orbitflow",))),
        ("slo_tbt_s", NumberRange(0.05, 0.2, True, False)),
        ("gpu_memory_bytes", NumberRange(16 * 1024**3, 24 * 1024**3, False, True)),
        ("max_batch", NumberRange(1, 64, False, True)),
        ("victim", Choices(("longest",))),
    ]
    assert size_of(space) is None
    assert size_of(read_space(["max_batch=1..64", "policy=orbit,dynamic"], [])) == 128


def test_text_with_dots_is_no_range() -> None:
    space = read_space(["trace=../a.jsonl,../b.jsonl"], ["dynamic"])
    assert space["trace"] == Choices(("../a.jsonl", "../b.jsonl"))


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("slo_scale", "write key=low..high"),
        ("slo_scale=", "write key=low..high"),
        ("slo_scal=1..2", "did you mean slo_scale"),
        ("slo_scale=2..1", "must be less"),
        ("slo_scale=1..1", "must be less"),
        ("slo_scale=1..", "write low..high"),
        ("slo_scale=1..2..3", "write low..high"),
        ("slo_scale=1..inf", "must be less"),
        ("slo_scale=a..b", "write a number"),
        ("max_batch=1..2.5", "whole number"),
        ("lost_weight=0..1:log", "begin above 0"),
        ("gpu_memory=16..24GiB", "a unit at both ends"),
        ("deposit=all..none", "'all..none' is none of its values"),
        ("seed=1..3", "average seeds with --seeds"),
        ("policy=dinamic", "did you mean dynamic"),
    ],
)
def test_wrong_spaces_are_refused_in_one_line(option: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as refusal:
        read_space([option], [] if option.startswith("policy") else ["dynamic"])
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "policies", "said"),
    [
        ([], ["dynamic"], "nothing to search"),
        (["slo_scale=1..2"], [], "fixes one policy and got 0"),
        (["slo_scale=1..2"], ["all"], "fixes one policy and got"),
        (["policy=orbit,dynamic"], ["orbit"], "both given"),
        (["slo_scale=1..2", "slo-scale=2..3"], ["orbit"], "given twice"),
    ],
)
def test_spaces_that_contradict_themselves(
    options: list[str], policies: list[str], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        read_space(options, policies)


@given(
    st.lists(
        st.one_of(ranges(), st.lists(st.integers(), min_size=1, unique=True).map(tuple)),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 40),
    st.integers(0, 2**32),
)
def test_the_same_seed_draws_the_same_different_cells(
    domains: list[NumberRange | tuple[int, ...]], trials: int, seed: int
) -> None:
    space = {str(n): d if isinstance(d, NumberRange) else Choices(d) for n, d in enumerate(domains)}
    search = Search(space, Sampler.RANDOM, GOAL, trials, seed)
    cells = search.drawn()
    assert cells == search.drawn()
    assert len({cell.id for cell in cells}) == len(cells) <= search.most
    fewer = Search(space, Sampler.RANDOM, GOAL, max(1, trials // 2), seed)
    assert cells[: len(fewer.drawn())] == fewer.drawn()


def test_a_small_space_is_drawn_whole_with_a_notice() -> None:
    space = read_space(["max_batch=1..3", "policy=orbit,dynamic"], [])
    search = Search(space, Sampler.RANDOM, GOAL, 50)
    assert {tuple(cell.values.values()) for cell in search.drawn()} == {
        (batch, policy) for batch in (1, 2, 3) for policy in ("orbit", "dynamic")
    }
    assert search.grid.notices == ("the space has 6 configurations, fewer than --trials 50",)


@pytest.mark.parametrize("trials", [0, -1, 10**6])
def test_numbers_of_trials(trials: int) -> None:
    space = read_space(["max_batch=1..3"], ["orbit"])
    with pytest.raises(UserError, match=f"--trials {trials} must be from 1 to"):
        Search(space, Sampler.RANDOM, GOAL, trials)


def test_objectives_are_figures() -> None:
    assert read_objective("ttft_s.p95", None).direction is Direction.MIN
    assert read_objective("slo_attainment", None).direction is Direction.MAX
    assert read_objective("link.busy_share", Direction.MIN).direction is Direction.MIN
    with pytest.raises(UserError, match="did you mean slo_attainment"):
        read_objective("slo_attainmnt", None)
    with pytest.raises(UserError, match="add --direction max or min"):
        read_objective("output_tokens", None)


def test_every_figure_of_a_policy_that_plans_can_be_an_objective(make_study: MakeStudy) -> None:
    study = make_study("slo_scale=1", policies=["orbit"])
    (job,) = study.simulations()
    figures = do_task(StudyTask(study.config(job), study.slo(job)))
    numbers = {n for n, v in figures.items() if v is None or type(v) in (int, float)}
    assert numbers == {*DIRECTIONS, *NO_DIRECTION}
