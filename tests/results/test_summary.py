"""The totals of one policy's run (`orbitflow.results.summary`), by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from orbitflow.config import DeliveryPace
from orbitflow.request import Request
from orbitflow.results.request_result import failed, judge
from orbitflow.results.summary import Totals, length_bucket
from orbitflow.step import Finished, Step, StepOutcome, Stream

TAU = 1.0
_KEYS = (
    "requests completed failed output_tokens makespan_s throughput_tokens_per_s goodput_rps "
    "timely_share tbt_attainment tpot_attainment ttft_attainment slo_attainment ttft_s tpot_s "
    "tbt_s e2el_s link planner paused_s"
)
KEYS = set(_KEYS.split())


def completed(totals: Totals, request: Request, times: list[float], *, paused_s: float = 0) -> None:
    done = judge(
        Finished(request, request.arrival_s, np.array(times, dtype=float), paused_s),
        tbt_limit_s=TAU,
        ttft_limit_s=2.0,
        deposit=True,
        delivery=DeliveryPace.SLO,
    )
    totals.add_completed(done.result, done.pace, done.gaps_s)


def figures(totals: Totals) -> Any:
    """As another program would read them."""
    return json.loads(json.dumps(totals.to_json({}), allow_nan=False))


@pytest.mark.parametrize(
    ("tokens", "bucket"),
    [
        (1, "prompt < 1k"),
        (999, "prompt < 1k"),
        (1_000, "1k <= prompt < 4k"),
        (4_000, "4k <= prompt < 16k"),
        (15_999, "4k <= prompt < 16k"),
        (16_000, "16k <= prompt < 64k"),
        (64_000, "prompt >= 64k"),
        (10**9, "prompt >= 64k"),
    ],
)
def test_buckets(tokens: int, bucket: str) -> None:
    assert length_bucket(tokens) == bucket


def test_four_requests_by_hand() -> None:
    """Request 0 meets all: tokens at 6, 7, 8. Request 1 misses TTFT: 5 s, one token.

    Request 2 misses TPOT: tokens at 8, 12, so 3 s late. Request 3 is refused: it misses both.
    From the first arrival at 5 to the last token at 12: 7 s, 6 tokens.
    Due: 2 + 1 tokens; read in 2 + 4 s: 3 / 6. One of three is late.
    """
    totals = Totals(layers=4)
    completed(totals, Request(0, 5.0, 500, 3), [6, 7, 8])
    completed(totals, Request(1, 5.5, 5000, 1), [10.5], paused_s=2.5)
    completed(totals, Request(2, 7.0, 500, 2), [8, 12], paused_s=1.0)
    refused = Request(3, 8.0, 10**6, 9)
    totals.add(failed(refused, "too large", tbt_limit_s=TAU, ttft_limit_s=2.0))
    found = figures(totals)
    assert (found["requests"], found["completed"], found["failed"]) == (4, 3, 1)
    assert found["output_tokens"] == 6
    assert found["makespan_s"] == 7
    assert found["throughput_tokens_per_s"] == pytest.approx(6 / 7)
    assert found["goodput_rps"] == pytest.approx(1 / 7)
    assert found["timely_share"] == pytest.approx(3 / 6)
    assert found["tbt_attainment"] == pytest.approx(2 / 3)
    assert found["ttft_attainment"] == 2 / 4
    assert found["tpot_attainment"] == 2 / 4
    assert found["slo_attainment"] == 1 / 4
    assert found["paused_s"] == 3.5
    assert found["ttft_s"]["max"] == 5
    assert found["ttft_s"]["mean"] == pytest.approx((1 + 5 + 1) / 3)
    tpot = {"mean": 2.5, "p50": 2.5, "p95": 3.85, "p99": 3.97, "max": 4}
    assert found["tpot_s"] == pytest.approx(tpot)
    assert found["tbt_s"]["max"] == 4
    assert found["e2el_s"]["p50"] == 5
    assert found["by_length"] == {
        "prompt < 1k": {
            "requests": 2,
            "tpot_attainment": 0.5,
            "ttft_attainment": 1.0,
            "slo_attainment": 0.5,
        },
        "4k <= prompt < 16k": {
            "requests": 1,
            "tpot_attainment": 1.0,
            "ttft_attainment": 0.0,
            "slo_attainment": 0.0,
        },
        "prompt >= 64k": {
            "requests": 1,
            "tpot_attainment": 0.0,
            "ttft_attainment": 0.0,
            "slo_attainment": 0.0,
        },
    }
    assert list(found["by_length"]) == ["prompt < 1k", "4k <= prompt < 16k", "prompt >= 64k"]


def test_everybody_failed() -> None:
    """No time, no tokens: what has no meaning is null, and no division fails."""
    totals = Totals(layers=4)
    totals.add(failed(Request(0, 3.0, 9, 9), "", tbt_limit_s=TAU, ttft_limit_s=2.0))
    found = figures(totals)
    assert (found["requests"], found["completed"], found["failed"]) == (1, 0, 1)
    assert found["makespan_s"] == 0
    assert found["slo_attainment"] == 0
    for key in ("throughput_tokens_per_s", "goodput_rps", "timely_share", "tbt_attainment"):
        assert found[key] is None
    assert set(found["ttft_s"].values()) == {None}
    assert found["link"]["busy_share"] is None


def test_nobody_came() -> None:
    found = figures(Totals(layers=4))
    assert found["requests"] == 0
    assert found["slo_attainment"] is None


def test_the_link() -> None:
    """Two passes of two requests, 100 tokens at first, 102 then: 202 token-passes.

    One of them, 40 then 41 tokens, streams 2 of 4 layers: 40.5 of them. Busy 3 s, stalled 1 s.
    """
    totals = Totals(layers=4)
    stream = Stream((1, 3), (1, 3), np.array([40]))
    step = Step(1, (), (0, 1), 100, None, (stream,), 9, (), 2, 1, True)
    outcome = StepOutcome(0.0, np.array([2.0, 6.0]), 1.0, 3.0, 700, 50, (), 6.0)
    totals.link.add(step, outcome, 4)
    totals.link.add(step, outcome, 4)
    link = totals.link.to_json(makespan_s=12.0)
    assert (link["h2d_bytes"], link["d2h_bytes"], link["moves"]) == (1400, 100, 0)
    assert link["busy_share"] == 0.5
    assert link["hidden_share"] == pytest.approx(4 / 6)
    assert link["resident_share"] == pytest.approx((202 - 40.5) / 202)
    assert link["stall_s"] == 2


def test_the_planner() -> None:
    totals = Totals(layers=4)
    for latency_s in (0.005, 0.005, 0.02):
        totals.planner.calls += 1
        totals.planner.latency.add(latency_s)
    planner = totals.planner.to_json(makespan_s=3.0)
    assert planner["calls"] == 3
    assert planner["p50_ms"] == 5
    assert planner["runtime_share"] == pytest.approx(0.01)
    assert figures(Totals(layers=4))["planner"] == {
        "calls": 0,
        "p50_ms": None,
        "p99_ms": None,
        "runtime_share": None,
    }


def test_every_key_of_the_design_is_there() -> None:
    found = figures(Totals(layers=4))
    assert set(found) >= KEYS
    for key in ("ttft_s", "tpot_s", "tbt_s", "e2el_s"):
        assert list(found[key]) == ["mean", "p50", "p95", "p99", "max"]
    assert {"h2d_bytes", "d2h_bytes", "busy_share", "hidden_share"} <= set(found["link"])
