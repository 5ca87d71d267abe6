"""The published numbers, and the rule that picks a sentence."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.paper.compare import Verdict, compared
from benchmarks.paper.derive import DERIVATIONS, Derived
from benchmarks.paper.published import PUBLISHED, Family, Published
from benchmarks.paper.reasons import Facts, reason_for
from orbitflow.study.statistics import Estimate

ROW = Published("k", Family.ABLATION, "figure", "what", 50.0, 50.0, "%", 0.5)


def ours(mean: float, half: float | None = 1.0, detail: str | None = None) -> Derived:
    return Derived(Estimate(mean, half), detail)


def test_the_published_numbers_are_well_formed() -> None:
    assert len({row.key for row in PUBLISHED}) == len(PUBLISHED)
    for row in PUBLISHED:
        assert row.low <= row.high
        assert row.unit in ("%", "points", "x", "")
        assert row.where
        assert row.what
        assert row.give >= 0
        assert (row.not_run is None) == (row.key in DERIVATIONS), row.key
    assert set(DERIVATIONS) <= {row.key for row in PUBLISHED}


@pytest.mark.parametrize(
    ("published", "shown"),
    [
        (ROW, "50 %"),
        (replace(ROW, high=52.0), "50 to 52 %"),
        (replace(ROW, high=inf), "over 50 %"),
        (replace(ROW, unit="x", low=3.3, high=3.3), "3.3 x"),
    ],
)
def test_how_a_number_is_shown(published: Published, shown: str) -> None:
    assert published.shown == shown


@pytest.mark.parametrize(
    ("derived", "verdict", "said"),
    [
        (ours(50.4, 0.0), Verdict.AGREES, "within the interval"),
        (ours(50.0, None), Verdict.OPEN, "one workload has no interval"),
        (ours(52.0, 2.0), Verdict.AGREES, "within the interval"),
        (ours(30.0, 30.0), Verdict.OPEN, "(± 30) is too wide to tell"),
        (ours(50.0, 30.0), Verdict.OPEN, "(± 30) is too wide to tell"),
        (ours(40.0), Verdict.DIFFERS, "lower by 10 points: at scale 1 the limit"),
        (ours(99.5), Verdict.DIFFERS, "higher by 49.5 points: hardly a token is late"),
        (ours(70.0, 1.0, "here of X"), Verdict.DIFFERS, "higher by 20 points (here of X): re-plan"),
        (None, Verdict.MISSING, "missing"),
    ],
)
def test_a_row_and_its_sentence(derived: Derived | None, verdict: Verdict, said: str) -> None:
    row = compared(ROW, derived, None)
    assert row.verdict is verdict
    assert said in row.sentence


def test_fair_books_are_named_where_they_matter_more() -> None:
    small, large = (compared(ROW, ours(40.0), ours(mean)) for mean in (45.0, 80.0))
    assert "fair" not in small.sentence
    assert large.sentence.endswith("; fair books move ours to 80, by more than that")


def test_what_is_not_run_is_said() -> None:
    row = compared(replace(ROW, not_run="no such trace"), ours(50.0), None)
    assert (row.verdict, row.sentence, row.papers) == (
        Verdict.MISSING,
        "not run: no such trace",
        None,
    )


@given(
    row=st.sampled_from([row for row in PUBLISHED if row.not_run is None]),
    mean=st.floats(-100, 200),
    half=st.one_of(st.none(), st.floats(0, 100)),
    fair=st.one_of(st.none(), st.floats(-100, 200)),
)
def test_every_row_has_one_true_sentence(
    row: Published, mean: float, half: float | None, fair: float | None
) -> None:
    done = compared(row, ours(mean, half), None if fair is None else ours(fair))
    assert done.sentence
    assert "\n" not in done.sentence
    reach = row.give + (half or 0.0)
    reaches = row.low - reach <= mean <= row.high + reach
    near = min(abs(abs(mean - row.low) - reach), abs(abs(mean - row.high) - reach)) < 1e-6
    if half is not None and not near:
        assert (done.verdict is not Verdict.DIFFERS) == reaches
    if done.verdict is Verdict.DIFFERS:
        assert done.sentence.startswith("higher" if mean > row.high else "lower")


def test_a_gain_without_room_says_so() -> None:
    row = replace(ROW, family=Family.DEPOSIT, unit="points", low=18.0, high=18.0)
    tight, roomy = (compared(row, Derived(Estimate(4.0, 1.0), None, r), None) for r in (5.0, 50.0))
    assert tight.sentence == "lower by 14 points: fewer tokens than that were late before deposit"
    assert "scatter" in roomy.sentence


@pytest.mark.parametrize("family", Family)
def test_every_family_has_a_reason_for_everything(family: Family) -> None:
    for value in (-50.0, 0.0, 0.5, 40.0, 99.9, 150.0):
        assert reason_for(family, Facts(50.0, 50.0, value, True))
