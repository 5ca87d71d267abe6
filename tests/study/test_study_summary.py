"""Means and intervals over seeds, against Student's t as scipy has it."""

from __future__ import annotations

from typing import Any

import pytest
from scipy.stats import t

from orbitflow.study.statistics import estimate, t_quantile
from orbitflow.study.stored import Row
from orbitflow.study.summary import results
from study.conftest import MakeStudy


@pytest.mark.parametrize("freedom", [*range(1, 31), 35, 40, 59, 60, 119, 120, 10_000])
def test_quantiles_are_students_or_a_little_wider(freedom: int) -> None:
    exact = float(t.ppf(0.975, freedom))
    assert -6e-5 <= t_quantile(freedom) - exact <= (6e-5 if freedom <= 30 else 0.025)


def test_an_interval_worked_out_by_hand() -> None:
    """Of 1, 2, 3: s = 1, t(2) = 4.3027, so 2 ± 4.3027 / sqrt 3."""
    found = estimate([1.0, 2.0, 3.0])
    assert found.mean == 2
    assert found.half_width == pytest.approx(4.3027 / 3**0.5)
    assert estimate([5.0]).half_width is None
    assert estimate([5.0, 5.0]).half_width == 0


def _row(cell: dict[str, Any], seed: int, figures: dict[str, Any] | None) -> Row:
    status, error = ("failed", "E: no") if figures is None else ("ok", None)
    return {"cell": cell, "seed": seed, "status": status, "error": error, "slo_tbt_s": 0.1,
            "figures": figures}  # fmt: skip


def test_what_failed_is_counted_and_left_out(make_study: MakeStudy) -> None:
    study = make_study("policy=dynamic", "slo_scale=1,2", seeds=3)
    first, second = study.grid.cells()
    figures = [{"a": 1.0, "b": None, "lossy": False}, None, {"a": 3.0, "b": 4.0, "lossy": False}]
    rows = {(first.id, n): _row(first.values, n, f) for n, f in enumerate(figures)}
    done, missing = results(study, rows)
    assert (done.ok, done.failed, done.errors) == (2, 1, ("E: no",))
    assert done.figures["a"].mean == 2
    assert done.figures["b"] == (4.0, None)  # undefined in one run
    assert set(done.figures) == {"a", "b"}  # words and truths have no mean
    assert (missing.cell, missing.ok, missing.figures) == (second, 0, {})
