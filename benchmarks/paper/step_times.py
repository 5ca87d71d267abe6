"""The paper's count of late tokens, kept beside a run's own figures.

A token's time is the duration of the decode pass that made it, nothing else: queueing, prompts of
others and pauses lie between passes and are not counted (arXiv 2601.10729 sums step times per
request). With deposit the walk is that of `orbitflow.slo` on the running sum of step times.
Tokens of requests that are never served are late. Attainment = 1 - late / all output tokens, the
first tokens included, which the prompt makes and which are on time.
"""

from __future__ import annotations

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.request import Request
from orbitflow.results.distribution import Distribution
from orbitflow.results.metrics import meets, pace, share
from orbitflow.step import Events, Step, StepOutcome


class StepTimes:
    """Observer of one run under one limit `tbt_limit_s` on the time between tokens."""

    def __init__(self, tbt_limit_s: float) -> None:
        self._tbt_limit_s = tbt_limit_s
        self._spans: dict[int, list[FloatArray]] = {}
        self._times = Distribution()
        self._requests = 0
        self._in_pace = 0
        self._tokens = 0
        self._late = 0
        self._late_banked = 0

    def refused(self, request: Request, reason: str) -> None:
        """Count all tokens of a request that can never be served as late."""
        self._requests += 1
        self._tokens += request.output_tokens
        self._late += request.output_tokens
        self._late_banked += request.output_tokens

    def stepped(self, step: Step, outcome: StepOutcome, events: Events) -> None:
        """Count the passes of a step for everybody who decoded in them."""
        if step.decode_ids and len(outcome.pass_end_s):
            pass_s = outcome.pass_s
            for request_id in step.decode_ids:
                self._spans.setdefault(request_id, []).append(pass_s)
        for finished in events.finished:
            spans = self._spans.pop(finished.request.id, [])
            self._judge(finished.request, np.concatenate(spans) if spans else np.empty(0))

    def planned(self, latency_s: float) -> None:
        """Plans are made beside the passes: nothing to count."""

    def figures(self, *, banks: bool) -> dict[str, object]:
        """`tbt_attainment` is with deposit where the system `banks`; the other two are both ways.

        Times are seconds; a figure is None where there was nothing to measure.
        """
        times = self._times.quantiles()
        banked, plain = self._attainment(self._late_banked), self._attainment(self._late)
        return {
            "paper.tbt_attainment": banked if banks else plain,
            "paper.tbt_banked": banked,
            "paper.tbt_plain": plain,
            "paper.tpot_attainment": share(self._in_pace, self._requests),
            "paper.tbt_mean_s": times.mean,
            "paper.tbt_p50_s": times.p50,
            "paper.tbt_p95_s": times.p95,
            "paper.tbt_p99_s": times.p99,
        }

    def _judge(self, request: Request, step_s: FloatArray) -> None:
        self._requests += 1
        self._tokens += request.output_tokens
        mean_s = float(step_s.mean()) if len(step_s) else None
        self._in_pace += meets(mean_s, self._tbt_limit_s)
        self._times.extend(step_s)
        clock = np.concatenate(([0.0], np.cumsum(step_s)))
        self._late += pace(clock, self._tbt_limit_s, deposit=False).late_tokens
        self._late_banked += pace(clock, self._tbt_limit_s, deposit=True).late_tokens

    def _attainment(self, late: int) -> float | None:
        return None if not self._tokens else 1 - late / self._tokens
