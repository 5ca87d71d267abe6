"""What a table of the paper's study shows of a run: title, figure, and how it is written.

`per` divides the figure, run by run, by another one of the same run.
"""

from __future__ import annotations

from typing import NamedTuple

from orbitflow.study.statistics import Estimate


class Metric(NamedTuple):
    """One figure: as a percentage, or with `digits` significant ones times `factor`."""

    title: str
    figure: str
    is_share: bool = True
    factor: float = 1.0
    per: str | None = None

    def write(self, value: Estimate | None, *, halves: bool = True) -> str:
        """A value, with half of its 95 % interval where it has one and `halves` asks for it."""
        if value is None:
            return "n/a"
        factor = 100 * self.factor if self.is_share else self.factor
        mean, half = value.mean * factor, (value.half_width or 0.0) * factor
        shown = f"{mean:.1f}" if self.is_share else f"{mean:.3g}"
        if not halves or value.half_width is None:
            return shown
        return f"{shown} ± {half:.1f}" if self.is_share else f"{shown} ± {half:.2g}"


COUNTED = Metric("TBT %, paper's", "paper.tbt_attainment")
PLAIN = Metric("TBT %, no deposit", "paper.tbt_plain")
BANKED = Metric("TBT %, deposit", "paper.tbt_banked")
TPOT = Metric("TPOT %, paper's", "paper.tpot_attainment")
TIMELY = Metric("timely %, fair", "timely_share")
SLO = Metric("SLO %, fair", "slo_attainment")

LATENCIES = (
    Metric("P95, ms", "paper.tbt_p95_s", False, 1e3),
    Metric("P99, ms", "paper.tbt_p99_s", False, 1e3),
    Metric("fair P99, ms", "tbt_s.p99", False, 1e3),
    Metric("tok/s", "throughput_tokens_per_s", False),
    Metric("E2E, min", "e2el_s.mean", False, 1 / 60),
    SLO,
)
PLANNER = (
    Metric("questions/request", "planner.searches", False, per="requests"),
    Metric("ILP/request", "planner.calls", False, per="requests"),
    Metric("ILP, % of the run", "planner.runtime_share"),
)
REFUSED = Metric("refused, %", "failed", per="requests")
EVERY = (COUNTED, TPOT, TIMELY, SLO, REFUSED)  # of every point, in paper.md
