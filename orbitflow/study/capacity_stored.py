"""`capacity.json` as values again: the question, and the answer of every policy.

What tables and reports say of a capacity question comes from here alone, so that they agree with
the file: fresh answers go the same way as stored ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from orbitflow.study.bisection import Number
from orbitflow.study.capacity_result import CapacityPoint, Spread
from orbitflow.study.figures import Target
from orbitflow.study.statistics import Estimate


class StoredAnswer(NamedTuple):
    """What one policy's searches came to. `tested` goes from easy to hard; `outcome` is `found`,
    `met_everywhere`, `met_nowhere` or `failed`.
    """

    policy: str
    outcome: str
    met: CapacityPoint | None
    missed: CapacityPoint | None
    tested: tuple[CapacityPoint, ...]
    fails_easier_at: tuple[Number, ...]
    spread: Spread | None
    error: str | None


@dataclass(frozen=True, slots=True)
class StoredAnswers:
    """A question and its answers."""

    trace: str
    requests: int
    profile: str
    key: str
    wants_highest: bool
    targets: tuple[Target, ...]
    seeds: int
    answers: tuple[StoredAnswer, ...]

    @property
    def best(self) -> Number | None:
        """The hardest value met, where policies differ in it."""
        met = [None if answer.met is None else answer.met.value for answer in self.answers]
        known = [value for value in met if value is not None]
        if not known or len(set(met)) < 2:
            return None
        return max(known) if self.wants_highest else min(known)


def stored_answers(document: Mapping[str, Any]) -> StoredAnswers:
    """Read the content of `capacity.json`. Raise a KeyError, TypeError or ValueError if it is
    something else.
    """
    trace, vary = document["trace"], document["vary"]
    return StoredAnswers(
        str(trace["name"]),
        int(trace["requests"]),
        str(document["profile"]),
        str(vary["key"]),
        vary["wanted"] == "highest",
        tuple(_target(found) for found in document["targets"]),
        len(document["seeds"]),
        tuple(_answer(found) for found in document["answers"]),
    )


def _target(found: Mapping[str, Any]) -> Target:
    is_least = "at_least" in found
    return Target(
        str(found["figure"]), float(found["at_least" if is_least else "at_most"]), is_least
    )


def _answer(found: Mapping[str, Any]) -> StoredAnswer:
    spread = found["seeds"]
    return StoredAnswer(
        str(found["policy"]),
        str(found["outcome"]),
        None if found["met"] is None else _point(found["met"]),
        None if found["missed"] is None else _point(found["missed"]),
        tuple(_point(one) for one in found["tested"]),
        tuple(_number(value) for value in found["fails_easier_at"]),
        None if spread is None else _spread(spread),
        found["error"],
    )


def _spread(found: Mapping[str, Any]) -> Spread:
    middle, low, high = (found[name] for name in ("mean", "low", "high"))
    return Spread(tuple(found["crossings"]), middle, low, high)


def _point(found: Mapping[str, Any]) -> CapacityPoint:
    figures = {
        str(name): Estimate(float(value["mean"]), value["half_width"])
        for name, value in found["figures"].items()
    }
    return CapacityPoint(
        _number(found["value"]),
        bool(found["is_met"]),
        int(found["seeds_met"]),
        figures,
        found["error"],
        found.get("requests_per_s"),
    )


def _number(value: object) -> Number:
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return value
