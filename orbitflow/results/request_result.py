"""The result of one request, judged by its limits. `docs/formats.md` has the columns."""

from __future__ import annotations

import json
from typing import NamedTuple

from orbitflow.arrays import FloatArray
from orbitflow.config import DeliveryPace
from orbitflow.request import Request
from orbitflow.results.metrics import Pace, e2el_s, gaps_s, meets, pace, tpot_s, ttft_s
from orbitflow.step import Finished

compact_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class RequestResult(NamedTuple):
    """One line of `requests.jsonl`. Times in seconds; None where a refused request has no such
    time.
    """

    id: int
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    status: str  # completed | failed
    admitted_s: float | None
    first_token_s: float | None
    last_token_s: float | None
    last_delivered_s: float | None
    ttft_s: float | None
    tpot_s: float | None
    max_tbt_s: float | None
    e2el_s: float | None
    late_tokens: int
    paused_s: float
    slo_ttft_s: float
    slo_tbt_s: float
    meets_ttft: bool
    meets_tpot: bool
    reason: str | None

    @property
    def meets_slo(self) -> bool:
        """Whether the request met both its TTFT and its TPOT limit."""
        return self.meets_ttft and self.meets_tpot

    def to_json_line(self) -> str:
        """The line of `requests.jsonl`, without its end."""
        return compact_json(self._asdict())


class Judgement(NamedTuple):
    """A completed request's result, and what the totals need beside it."""

    result: RequestResult
    pace: Pace
    gaps_s: FloatArray


def judge(
    finished: Finished,
    *,
    tbt_limit_s: float,
    ttft_limit_s: float,
    deposit: bool,
    delivery: DeliveryPace,
) -> Judgement:
    """Judge a completed request. Every token must be there exactly once, in order."""
    request, times = finished.request, finished.token_times_s
    gaps = gaps_s(times)
    tokens = len(times)
    assert tokens == request.output_tokens, "a completed request lacks tokens"
    assert tokens < 2 or gaps.min() >= 0, "tokens out of order"
    first, last = float(times[0]), float(times[-1])
    paced = pace(times, tbt_limit_s, deposit=deposit)
    ttft = ttft_s(first, request.arrival_s)
    tpot = tpot_s(first, last, tokens)
    result = RequestResult(
        request.id,
        request.arrival_s,
        request.prompt_tokens,
        request.output_tokens,
        "completed",
        finished.admitted_s,
        first,
        last,
        paced.last_delivered_s if delivery is DeliveryPace.SLO else last,
        ttft,
        tpot,
        float(gaps.max()) if tokens > 1 else None,
        e2el_s(last, request.arrival_s),
        paced.late_tokens,
        finished.paused_s,
        ttft_limit_s,
        tbt_limit_s,
        meets(ttft, ttft_limit_s),
        meets(tpot, tbt_limit_s),
        None,
    )
    return Judgement(result, paced, gaps)


def failed(
    request: Request, reason: str, *, tbt_limit_s: float, ttft_limit_s: float
) -> RequestResult:
    """The result of a request that was never served: it misses everything."""
    unknown = (None,) * 8
    return RequestResult(
        *request[:4], "failed", *unknown, 0, 0.0, ttft_limit_s, tbt_limit_s, False, False, reason
    )
