"""The figures of one policy's run, summed up request by request and step by step.

Nothing per token is kept, so memory grows with what is in flight. Attainments are shares of ALL
requests: a request that was refused or never started misses every limit. Design sections 9 and 10;
keys in `docs/formats.md`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import NamedTuple

from orbitflow.arrays import FloatArray
from orbitflow.results.distribution import Distribution
from orbitflow.results.metrics import Pace, share, tbt_attainment, timely_share
from orbitflow.results.request_result import RequestResult
from orbitflow.step import Step, StepOutcome

SCHEMA_VERSION = 1
_LIMITS_TOKENS = (1_000, 4_000, 16_000, 64_000)
LENGTH_BUCKETS = (
    "prompt < 1k",
    "1k <= prompt < 4k",
    "4k <= prompt < 16k",
    "16k <= prompt < 64k",
    "prompt >= 64k",
)


class Refusal(NamedTuple):
    """A request that could never be served, and why."""

    request_id: int
    reason: str


class PolicyReport(NamedTuple):
    """One policy's object in `summary.json`, the requests that it refused, and notes for people."""

    figures: dict[str, object]
    refusals: tuple[Refusal, ...]
    notices: tuple[str, ...] = ()


def length_bucket(prompt_tokens: int) -> str:
    """The bucket that a prompt of that length is reported in."""
    return LENGTH_BUCKETS[bisect_right(_LIMITS_TOKENS, prompt_tokens)]


@dataclass(slots=True)
class Attainment:
    """Counts of requests that met their limits."""

    requests: int = 0
    ttft: int = 0
    tpot: int = 0
    both: int = 0

    def add(self, result: RequestResult) -> None:
        """Count one request."""
        self.requests += 1
        self.ttft += result.meets_ttft
        self.tpot += result.meets_tpot
        self.both += result.meets_ttft and result.meets_tpot

    def to_json(self) -> dict[str, object]:
        """Shares of all counted requests."""
        return {
            "requests": self.requests,
            "tpot_attainment": share(self.tpot, self.requests),
            "ttft_attainment": share(self.ttft, self.requests),
            "slo_attainment": share(self.both, self.requests),
        }


@dataclass(slots=True)
class LinkTotals:
    """Bytes over the link, and the time that they took."""

    h2d_bytes: int = 0
    d2h_bytes: int = 0
    busy_s: float = 0.0
    stall_s: float = 0.0
    streamed_context: float = 0.0  # token-layers on the host, summed over passes
    all_context: float = 0.0
    moves: int = 0

    def add(self, step: Step, outcome: StepOutcome, layers: int) -> None:
        """Count one step."""
        self.h2d_bytes += outcome.h2d_bytes
        self.d2h_bytes += outcome.d2h_bytes
        self.busy_s += outcome.link_busy_s
        self.stall_s += outcome.stall_s
        self.moves += len(step.moves)
        passes, count = len(outcome.pass_end_s), len(step.decode_ids)
        growth = (passes - 1) / 2
        self.all_context += passes * (step.context_tokens + count * growth)
        for stream in step.streams:
            context = float(stream.contexts.sum()) + len(stream.contexts) * growth
            self.streamed_context += passes * context * len(stream.layers) / layers

    def to_json(self, makespan_s: float) -> dict[str, object]:
        """The `link` object of the summary."""
        hidden = share(max(0.0, self.busy_s - self.stall_s), self.busy_s)
        resident = share(self.all_context - self.streamed_context, self.all_context)
        return {
            "h2d_bytes": self.h2d_bytes,
            "d2h_bytes": self.d2h_bytes,
            "busy_share": share(self.busy_s, makespan_s),
            "hidden_share": hidden,
            "stall_s": self.stall_s,
            "resident_share": resident,
            "moves": self.moves,
        }


@dataclass(slots=True)
class PlannerTotals:
    """Calls of the policy's planner. In a simulation their latency is modelled, not measured."""

    latency: Distribution = field(default_factory=Distribution)
    calls: int = 0

    def to_json(self, makespan_s: float) -> dict[str, object]:
        """The `planner` object of the summary."""
        quantiles = self.latency.quantiles()
        spent_s = (quantiles.mean or 0.0) * self.calls
        return {
            "calls": self.calls,
            "p50_ms": None if quantiles.p50 is None else quantiles.p50 * 1e3,
            "p99_ms": None if quantiles.p99 is None else quantiles.p99 * 1e3,
            "runtime_share": share(spent_s, makespan_s),
        }


@dataclass(slots=True)
class Totals:
    """Everything that one policy's summary is made from."""

    layers: int
    attainment: Attainment = field(default_factory=Attainment)
    by_length: dict[str, Attainment] = field(default_factory=dict)
    link: LinkTotals = field(default_factory=LinkTotals)
    planner: PlannerTotals = field(default_factory=PlannerTotals)
    completed: int = 0
    output_tokens: int = 0
    late_tokens: int = 0
    due_tokens: int = 0
    due_s: float = 0.0
    reading_s: float = 0.0
    paused_s: float = 0.0
    dropped: int = 0
    first_arrival_s: float | None = None
    last_token_s: float = 0.0
    ttft: Distribution = field(default_factory=Distribution)
    tpot: Distribution = field(default_factory=Distribution)
    tbt: Distribution = field(default_factory=Distribution)
    e2el: Distribution = field(default_factory=Distribution)

    def add(self, result: RequestResult) -> None:
        """Count a request, completed or failed."""
        self.attainment.add(result)
        bucket = length_bucket(result.prompt_tokens)
        self.by_length.setdefault(bucket, Attainment()).add(result)
        if self.first_arrival_s is None or result.arrival_s < self.first_arrival_s:
            self.first_arrival_s = result.arrival_s

    def add_completed(self, result: RequestResult, paced: Pace, gaps_s: FloatArray) -> None:
        """Count a completed request's times."""
        assert result.ttft_s is not None
        assert result.e2el_s is not None
        assert result.last_token_s is not None
        self.add(result)
        self.completed += 1
        self.output_tokens += result.output_tokens
        self.late_tokens += paced.late_tokens
        self.due_tokens += paced.due_tokens
        self.due_s += paced.due_s
        self.reading_s += paced.reading_s
        self.paused_s += result.paused_s
        self.last_token_s = max(self.last_token_s, result.last_token_s)
        self.ttft.add(result.ttft_s)
        self.e2el.add(result.e2el_s)
        self.tbt.extend(gaps_s)
        if result.tpot_s is not None:
            self.tpot.add(result.tpot_s)

    def to_json(self, declared: Mapping[str, object]) -> dict[str, object]:
        """One policy's object in `summary.json`; `declared` is what the policy says of itself."""
        makespan_s = max(0.0, self.last_token_s - (self.first_arrival_s or 0.0))
        shares = self.attainment.to_json()
        return {
            **declared,
            "requests": self.attainment.requests,
            "completed": self.completed,
            "failed": self.attainment.requests - self.completed,
            "output_tokens": self.output_tokens,
            "makespan_s": makespan_s,
            "throughput_tokens_per_s": share(self.output_tokens, makespan_s),
            "goodput_rps": share(self.attainment.both, makespan_s),
            "timely_share": timely_share(self.due_s, self.reading_s),
            "tbt_attainment": tbt_attainment(self.late_tokens, self.due_tokens),
            **{key: value for key, value in shares.items() if key != "requests"},
            "ttft_s": self.ttft.quantiles()._asdict(),
            "tpot_s": self.tpot.quantiles()._asdict(),
            "tbt_s": self.tbt.quantiles()._asdict(),
            "e2el_s": self.e2el.quantiles()._asdict(),
            "link": self.link.to_json(makespan_s),
            "planner": self.planner.to_json(makespan_s),
            "paused_s": self.paused_s,
            "dropped": self.dropped,
            "by_length": {
                name: self.by_length[name].to_json()
                for name in LENGTH_BUCKETS
                if name in self.by_length
            },
        }


def flat(figures: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Figures by dotted name, such as `ttft_s.p95`; those by prompt length are left out. Raise a
    ValueError for a number that is not finite.
    """
    for name, value in figures.items():
        if isinstance(value, Mapping):
            if name != "by_length":
                yield from flat(value, f"{prefix}{name}.")
        elif isinstance(value, float) and not isfinite(value):
            raise ValueError(f"{prefix}{name} came out as {value}; please report this")
        else:
            yield prefix + name, value
