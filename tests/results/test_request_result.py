"""A finished request's line, by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from orbitflow.config import DeliveryPace
from orbitflow.request import Request
from orbitflow.results.request_result import Judgement, RequestResult, failed, judge
from orbitflow.step import Finished

REQUEST = Request(4, 10.0, 100, 4)


def judged(
    times: list[float],
    *,
    tbt_limit_s: float = 1.0,
    deposit: bool = True,
    delivery: DeliveryPace = DeliveryPace.SLO,
    ttft_limit_s: float = 2.0,
) -> Judgement:
    request = REQUEST._replace(output_tokens=len(times))
    return judge(
        Finished(request, 11.0, np.array(times), 3.0),
        tbt_limit_s=tbt_limit_s,
        ttft_limit_s=ttft_limit_s,
        deposit=deposit,
        delivery=delivery,
    )


def test_by_hand() -> None:
    """Tokens at 12, 12.5, 15, 15.5; tau 1 s. Due: 13 (in time), 14 (one second late), 16 (early).

    TPOT 3.5 / 3 misses 1 s; TTFT 2 s just meets.
    """
    result, paced, gaps = judged([12.0, 12.5, 15.0, 15.5])
    assert result == RequestResult(
        id=4,
        arrival_s=10.0,
        prompt_tokens=100,
        output_tokens=4,
        status="completed",
        admitted_s=11.0,
        first_token_s=12.0,
        last_token_s=15.5,
        last_delivered_s=16.0,
        ttft_s=2.0,
        tpot_s=3.5 / 3,
        max_tbt_s=2.5,
        e2el_s=5.5,
        late_tokens=1,
        paused_s=3.0,
        slo_ttft_s=2.0,
        slo_tbt_s=1.0,
        meets_ttft=True,
        meets_tpot=False,
        reason=None,
    )
    assert not result.meets_slo
    assert gaps.tolist() == [0.5, 2.5, 0.5]
    assert (paced.due_tokens, paced.reading_s) == (3, 4.0)


def test_delivered_at_once_only_changes_when_it_is_delivered() -> None:
    slow, _, _ = judged([12.0, 12.1, 12.2])
    fast, _, _ = judged([12.0, 12.1, 12.2], delivery=DeliveryPace.IMMEDIATE)
    assert slow.last_delivered_s == 14.0
    assert fast == slow._replace(last_delivered_s=12.2)


def test_a_single_token() -> None:
    result, paced, gaps = judged([12.5])
    assert (result.tpot_s, result.max_tbt_s, result.late_tokens) == (None, None, 0)
    assert result.meets_tpot
    assert not result.meets_ttft
    assert (len(gaps), paced.due_tokens) == (0, 0)


def test_missing_or_disordered_tokens_are_a_bug() -> None:
    finished = Finished(REQUEST, 11.0, np.array([12.0, 13.0]), 0.0)
    with pytest.raises(AssertionError, match="lacks tokens"):
        judge(finished, tbt_limit_s=1.0, ttft_limit_s=1.0, deposit=True, delivery=DeliveryPace.SLO)
    with pytest.raises(AssertionError, match="out of order"):
        judged([12.0, 13.0, 12.9])


def test_a_failed_request_misses_everything() -> None:
    result = failed(REQUEST, "too large", tbt_limit_s=0.1, ttft_limit_s=2.0)
    assert (result.status, result.reason) == ("failed", "too large")
    assert (result.meets_ttft, result.meets_tpot, result.meets_slo) == (False, False, False)
    assert (result.slo_tbt_s, result.slo_ttft_s) == (0.1, 2.0)
    unknown = {name for name, value in result._asdict().items() if value is None}
    assert unknown == {
        "admitted_s",
        "first_token_s",
        "last_token_s",
        "last_delivered_s",
        "ttft_s",
        "tpot_s",
        "max_tbt_s",
        "e2el_s",
    }


def test_lines_are_json_with_the_same_keys() -> None:
    done = json.loads(judged([12.0, 13.0])[0].to_json_line())
    refused = json.loads(failed(REQUEST, 'a "b"', tbt_limit_s=0.1, ttft_limit_s=2.0).to_json_line())
    assert list(done) == list(refused) == list(RequestResult._fields)
    assert refused["reason"] == 'a "b"'


def test_a_line_is_one_line_and_never_nan() -> None:
    assert "\n" not in failed(REQUEST, "a\nb", tbt_limit_s=0.1, ttft_limit_s=2.0).to_json_line()
    with pytest.raises(ValueError, match="not JSON compliant"):
        failed(REQUEST, "", tbt_limit_s=float("nan"), ttft_limit_s=2.0).to_json_line()
