"""The figures of a policy in tables: where each is in `summary.json`, how it is written, and which
way is better.

The best of a column are all values that are written like the best one: a difference that is not
printed is none. Where all are written alike, none is best.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from orbitflow.units import format_bytes, format_count, format_seconds

V = TypeVar("V")


class FigureColumn(NamedTuple):
    """One figure of a policy. `path` leads to it in `summary.json`. `best` picks the better of
    several values; it is None where neither is better.
    """

    title: str
    path: tuple[str, ...]
    write: Callable[[Any], str]
    best: Callable[[Sequence[float]], float] | None = None

    def of(self, figures: Mapping[str, Any]) -> Any:
        """The value; None where there was nothing to measure."""
        value: Any = figures
        for key in self.path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    def best_text(self, values: Iterable[float | None]) -> str | None:
        """How the best of these values is written; None if none is best."""
        known = [value for value in values if value is not None]
        return best_as_written(known, self.write, self.best) if self.best else None


def best_as_written(
    values: list[V], write: Callable[[V], str], best: Callable[[list[V]], V]
) -> str | None:
    """How the best value is written; None if it is written like all the others.

    >>> best_as_written([0.996, 0.99604, 0.98], "{:.1%}".format, max)
    '99.6%'
    >>> best_as_written([0.996, 0.99604], "{:.1%}".format, max) is None
    True
    """
    if len({write(value) for value in values}) < 2:
        return None
    return write(best(values))


def percent(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.1f} %"


def _rate(value: float) -> str:
    return f"{value:.4g}"


SERVICE = (
    FigureColumn("timely share", ("timely_share",), percent, max),
    FigureColumn("SLO attained", ("slo_attainment",), percent, max),
    FigureColumn("TTFT attained", ("ttft_attainment",), percent, max),
    FigureColumn("TPOT attained", ("tpot_attainment",), percent, max),
    FigureColumn("goodput, req/s", ("goodput_rps",), _rate, max),
    FigureColumn("TTFT p50", ("ttft_s", "p50"), format_seconds, min),
    FigureColumn("TTFT p95", ("ttft_s", "p95"), format_seconds, min),
    FigureColumn("TPOT p50", ("tpot_s", "p50"), format_seconds, min),
    FigureColumn("TPOT p95", ("tpot_s", "p95"), format_seconds, min),
    FigureColumn("TBT p50", ("tbt_s", "p50"), format_seconds, min),
    FigureColumn("TBT p99", ("tbt_s", "p99"), format_seconds, min),
)
MACHINE = (
    FigureColumn("tokens/s", ("throughput_tokens_per_s",), _rate, max),
    FigureColumn("makespan", ("makespan_s",), format_seconds, min),
    FigureColumn("completed", ("completed",), format_count),
    FigureColumn("failed", ("failed",), format_count),
    FigureColumn("paused, sum", ("paused_s",), format_seconds),
    FigureColumn("KV dropped", ("dropped",), format_count),
    FigureColumn("KV on the GPU", ("link", "resident_share"), percent),
    FigureColumn("host to GPU", ("link", "h2d_bytes"), format_bytes),
    FigureColumn("GPU to host", ("link", "d2h_bytes"), format_bytes),
    FigureColumn("link busy", ("link", "busy_share"), percent),
    FigureColumn("link time hidden", ("link", "hidden_share"), percent),
    FigureColumn("stalled on the link", ("link", "stall_s"), format_seconds),
)
ATTAINMENTS = SERVICE[:4]
