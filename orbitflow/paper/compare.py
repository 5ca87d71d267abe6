"""The paper's numbers beside ours, and a sentence for each row that differs.

A row agrees if the 95 % interval of ours, under the paper's accounting, reaches the published
number, give or take what that was rounded to; where the interval is so wide that it reaches nearly
anything, the row is open. The sentence of a row that differs says by how much, what ours is of, why
(`reasons`), and what fair books make of it where that moves ours by more.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from benchmarks.paper.derive import FAIR, PAPERS, Context, Derived, derive
from benchmarks.paper.experiments import Scope
from benchmarks.paper.measured import Measured
from benchmarks.paper.published import PUBLISHED, Published
from benchmarks.paper.reasons import Facts, reason_for

from orbitflow.study.statistics import Estimate

WIDE_SHARE = 0.25  # of the published number
WIDE_POINTS = 5.0


class Verdict(StrEnum):
    """How a row ends."""

    AGREES = "yes"
    DIFFERS = "no"
    OPEN = "open"
    MISSING = "not run"


class Compared(NamedTuple):
    """One row: the published number, ours under both accountings, and what there is to say."""

    published: Published
    papers: Estimate | None
    fair: Estimate | None
    verdict: Verdict
    sentence: str


def compare(measured: Measured, scope: Scope) -> list[Compared]:
    """Every published number, in order."""
    papers, fair = Context(measured, scope, PAPERS), Context(measured, scope, FAIR)
    return [compared(row, derive(row.key, papers), derive(row.key, fair)) for row in PUBLISHED]


def compared(row: Published, papers: Derived | None, fair: Derived | None) -> Compared:
    """One published number beside ours."""
    fairly = None if fair is None else fair.value
    if row.not_run is not None:
        return Compared(row, None, None, Verdict.MISSING, f"not run: {row.not_run}")
    if papers is None:
        return Compared(row, None, fairly, Verdict.MISSING, "runs that it needs are missing")
    ours, distance = papers.value, _distance(row, papers.value.mean)
    if ours.half_width is None:
        return Compared(row, ours, fairly, Verdict.OPEN, "one workload has no interval to tell by")
    if abs(distance) <= row.give + ours.half_width:
        if ours.half_width <= _widest(row):
            return Compared(row, ours, fairly, Verdict.AGREES, "within the interval")
        sentence = f"the interval (± {ours.half_width:.3g}) is too wide to tell"
        return Compared(row, ours, fairly, Verdict.OPEN, sentence)
    parts = [_difference(row, distance)]
    if papers.detail is not None:
        parts[0] += f" ({papers.detail})"
    facts = Facts(row.low, row.high, ours.mean, row.unit == "%", papers.room)
    parts[0] += ": " + reason_for(row.family, facts)
    if fairly is not None and abs(fairly.mean - ours.mean) > abs(distance):
        of_another = f" ({fair.detail})" if fair and fair.detail != papers.detail else ""
        parts.append(f"fair books move ours to {fairly.mean:.3g}{of_another}, by more than that")
    return Compared(row, ours, fairly, Verdict.DIFFERS, "; ".join(parts))


def _distance(row: Published, mean: float) -> float:
    """How far a mean lies above (+) or below (-) what is published; 0 within its bounds."""
    if row.low <= mean <= row.high:
        return 0.0
    return mean - (row.low if mean < row.low else row.high)


def _widest(row: Published) -> float:
    """Half an interval that still says something."""
    share = WIDE_SHARE * row.low
    return max(WIDE_POINTS, share) if row.unit in ("%", "points") else share


def _difference(row: Published, distance: float) -> str:
    unit = "points" if row.unit == "%" else row.unit
    which = "higher" if distance > 0 else "lower"
    return f"{which} by {abs(distance):.3g} {unit}".rstrip()
