"""Cells against their bounds: the limit over seeds, and the share of it that a policy reaches.

share = mean over seeds of (figure / bound of the same seed), so that it is not a quotient of means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from orbitflow.results.bound_share import is_covered, shares_of_bound
from orbitflow.study.statistics import Estimate, estimates
from orbitflow.study.stored import Row

Figures: TypeAlias = Mapping[str, Any]


class BoundResult(NamedTuple):
    """What no policy can exceed in a cell, and how close the cell's own comes.

    `share` is None where the bound does not cover some run; `error` says why a bound is missing.
    """

    figures: dict[str, Estimate]
    share: dict[str, Estimate] | None
    error: str | None


def bound_result(rows: Sequence[Row], bounds: Sequence[Row]) -> BoundResult:
    """What the rows of a cell and those of its bound come to, both in order of seeds."""
    known = {row["seed"]: row["figures"] for row in bounds if row["status"] == "ok"}
    errors = [row["error"] for row in bounds if row["status"] != "ok"]
    good = [row for row in rows if row["status"] == "ok"]
    return BoundResult(
        estimates(list(known.values())),
        _shares(good, known),
        errors[0] if errors else None,
    )


def _shares(good: Sequence[Row], known: Mapping[int, Figures]) -> dict[str, Estimate] | None:
    if not all(is_covered(row["figures"]) for row in good):
        return None
    pairs = [(row["figures"], known[row["seed"]]) for row in good if row["seed"] in known]
    found = [shares_of_bound(figures, bound) for figures, bound in pairs]
    return estimates([shares for shares in found if shares is not None])
