"""The figures of a run beside those of its simulation.

error = simulated / measured - 1  of times and bytes,   simulated - measured  of shares
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_TIMES = tuple(
    (kind, statistic)
    for kind in ("ttft_s", "tpot_s", "tbt_s")
    for statistic in ("mean", "p50", "p95", "p99")
)
_AMOUNTS = (*_TIMES, ("makespan_s",), ("link", "h2d_bytes"), ("link", "d2h_bytes"))
_SHARES = (
    ("timely_share",),
    ("slo_attainment",),
    ("ttft_attainment",),
    ("tpot_attainment",),
    ("tbt_attainment",),
)


class Compared(NamedTuple):
    """One figure. `error` is None where there is nothing to compare; of a share it is in shares."""

    name: str
    measured: float | None
    simulated: float | None
    error: float | None
    is_share: bool


def compare(measured: Mapping[str, Any], simulated: Mapping[str, Any]) -> Iterator[Compared]:
    """Every figure of two policies' objects of `summary.json`."""
    for path in _AMOUNTS:
        yield _compared(path, measured, simulated, is_share=False)
    for path in _SHARES:
        yield _compared(path, measured, simulated, is_share=True)


def _compared(
    path: tuple[str, ...],
    measured: Mapping[str, Any],
    simulated: Mapping[str, Any],
    *,
    is_share: bool,
) -> Compared:
    real, model = _at(measured, path), _at(simulated, path)
    error: float | None = None
    if real is not None and model is not None:
        if is_share:
            error = model - real
        elif real:
            error = model / real - 1
        elif not model:
            error = 0.0
    return Compared(".".join(path), real, model, error, is_share)


def _at(figures: Mapping[str, Any], path: tuple[str, ...]) -> float | None:
    value: Any = figures
    for key in path:
        value = None if value is None else value[key]
    return None if value is None else float(value)
