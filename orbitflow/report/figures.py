"""The columns of the policy table: where each figure is, how it is written, which way is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from orbitflow.units import format_bytes, format_count, format_seconds


class Column(NamedTuple):
    """One figure of a policy. `path` leads to it in `summary.json`; `best` picks the better of
    several values, None where neither is.
    """

    title: str
    path: tuple[str, ...]
    write: Callable[[Any], str]
    best: Callable[[Sequence[float]], float] | None = None

    def of(self, figures: Mapping[str, Any]) -> Any:
        """The figure; None where there was nothing to measure."""
        value: Any = figures
        for key in self.path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value


def percent(value: float) -> str:
    """A share for people."""
    return f"{100 * value:.1f} %"


def _rate(value: float) -> str:
    return f"{value:.4g}"


SERVICE = (
    Column("timely share", ("timely_share",), percent, max),
    Column("SLO attained", ("slo_attainment",), percent, max),
    Column("TTFT attained", ("ttft_attainment",), percent, max),
    Column("TPOT attained", ("tpot_attainment",), percent, max),
    Column("goodput, req/s", ("goodput_rps",), _rate, max),
    Column("TTFT p50", ("ttft_s", "p50"), format_seconds, min),
    Column("TTFT p95", ("ttft_s", "p95"), format_seconds, min),
    Column("TPOT p50", ("tpot_s", "p50"), format_seconds, min),
    Column("TPOT p95", ("tpot_s", "p95"), format_seconds, min),
    Column("TBT p50", ("tbt_s", "p50"), format_seconds, min),
    Column("TBT p99", ("tbt_s", "p99"), format_seconds, min),
)
MACHINE = (
    Column("tokens/s", ("throughput_tokens_per_s",), _rate, max),
    Column("makespan", ("makespan_s",), format_seconds, min),
    Column("completed", ("completed",), format_count),
    Column("failed", ("failed",), format_count),
    Column("parked, sum", ("paused_s",), format_seconds),
    Column("KV dropped", ("dropped",), format_count),
    Column("KV on the GPU", ("link", "resident_share"), percent),
    Column("host to GPU", ("link", "h2d_bytes"), format_bytes),
    Column("GPU to host", ("link", "d2h_bytes"), format_bytes),
    Column("link busy", ("link", "busy_share"), percent),
    Column("link time hidden", ("link", "hidden_share"), percent),
    Column("stalled on the link", ("link", "stall_s"), format_seconds),
)
ATTAINMENTS = SERVICE[:4]
