"""Targets: which way each figure is better, how values are read, and what meets them."""

from __future__ import annotations

import pytest
from orbitflow.study.figures import Target, are_met, figures, more_is_better, read_targets

from orbitflow.errors import UserError


@pytest.mark.parametrize(
    ("option", "target"),
    [
        ("slo_attainment=0.95", Target("slo_attainment", 0.95, True)),
        ("slo-attainment = 95%", Target("slo_attainment", 0.95, True)),
        ("goodput_rps=1.5", Target("goodput_rps", 1.5, True)),
        ("ttft_s.p95=500ms", Target("ttft_s.p95", 0.5, False)),
        ("tbt_s.max=2", Target("tbt_s.max", 2.0, False)),
        ("paused_s=0", Target("paused_s", 0.0, False)),
        ("link.busy_share=80%", Target("link.busy_share", 0.8, False)),
        ("link.hidden_share=0.9", Target("link.hidden_share", 0.9, True)),
        ("link.busy_share>=0.5", Target("link.busy_share", 0.5, True)),
        ("throughput_tokens_per_s=900", Target("throughput_tokens_per_s", 900, True)),
        ("failed<=3", Target("failed", 3, False)),
    ],
)
def test_reading(option: str, target: Target) -> None:
    assert read_targets([option]) == (target,)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "no target"),
        (["slo_attainment"], "write figure=value"),
        (["slo_attainmen=1"], "did you mean slo_attainment"),
        (["ttft_s=1"], r"ttft_s\.mean or ttft_s\.p50"),
        (["slo_attainment=95"], "from 0 to 1, or a percentage"),
        (["slo_attainment=high"], "a share such as"),
        (["ttft_s.p95=5kg"], "a number and a unit"),
        (["goodput_rps=-1"], "at least 0"),
        (["goodput_rps=inf"], "finite"),
        (["goodput_rps=1", "goodput_rps=2"], "twice"),
    ],
)
def test_mistakes(options: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_targets(options)


def test_every_figure_that_can_be_judged_has_a_sense() -> None:
    assert {"slo_attainment", "ttft_s.p95", "link.stall_s", "planner.p99_ms"} <= set(figures())
    assert {name for name in figures() if more_is_better(name)} == {
        *("output_tokens", "completed", "throughput_tokens_per_s", "goodput_rps", "timely_share"),
        *("tbt_attainment", "ttft_attainment", "tpot_attainment", "slo_attainment"),
        *("link.hidden_share", "link.resident_share"),
    }


def test_the_mean_over_runs_decides_equality_included() -> None:
    least = Target("slo_attainment", 0.95, True)
    most = Target("ttft_s.p95", 2.0, False)
    assert are_met([least], [{"slo_attainment": 0.95}] * 3)
    assert are_met([least], [{"slo_attainment": 0.9}, {"slo_attainment": 1.0}])
    assert not are_met([least], [{"slo_attainment": 0.9}, {"slo_attainment": 0.9999}])
    good = {"slo_attainment": 1.0, "ttft_s.p95": 2.0}
    assert are_met([least, most], [good])
    assert not are_met([least, most], [{**good, "ttft_s.p95": 2.1}])
    assert not are_met([most], [good, {"ttft_s.p95": None}])  # nothing came in one of the runs
