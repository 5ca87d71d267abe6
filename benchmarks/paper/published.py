"""What the paper prints as numbers: arXiv 2601.10729, versions of January and March 2026.

`low` and `high` bound the number where it is a floor ("over 75 %") or differs between versions;
else they are equal. `give` is how far from it still counts as the same: what the number was rounded
to, or 5 points where the paper says "about". Points of its curves are not published as numbers, so
only these rows can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import inf


class Family(StrEnum):
    """What a number is about; the reasons for a difference are those of its family."""

    SWEEP = "sweep"
    ABSTRACT = "abstract"
    ABLATION = "ablation"
    DEPOSIT = "deposit"
    VICTIM = "victim"
    TAIL = "tail"
    THROUGHPUT = "throughput"
    LATENCY = "latency"
    PLANNER = "planner"


@dataclass(frozen=True, slots=True)
class Published:
    """One number. `where` names figure or table, `unit` is %, points (of percentage), x, or empty.

    `not_run` says why there is none of ours, where there is none.
    """

    key: str
    family: Family
    where: str
    what: str
    low: float
    high: float
    unit: str
    give: float = 0.0
    not_run: str | None = None

    @property
    def is_floor(self) -> bool:
        """Whether anything above `low` agrees."""
        return self.high == inf

    @property
    def shown(self) -> str:
        """The number as a table shows it."""
        unit = f" {self.unit}" if self.unit else ""
        if self.is_floor:
            return f"over {self.low:g}{unit}"
        if self.low == self.high:
            return f"{self.low:g}{unit}"
        return f"{self.low:g} to {self.high:g}{unit}"


_ABLATION = "component ablation, SLO scale 1"
_SWEEP = "TBT against arrival rate and SLO scale"
_TAILS = "P95 and P99 of TBT, rate 2 x"
_TABLE_1 = "Table 1, solver overhead"
_TD = "token deposit ablation"

PUBLISHED: tuple[Published, ...] = (
    Published("sweep.orbitflow", Family.SWEEP, _SWEEP,
              "OrbitFlow's TBT attainment, highest rate, tightest SLO", 75, inf, "%"),
    Published("sweep.others", Family.SWEEP, _SWEEP,
              "best of the other offloading systems there", 50, 50, "%", 5),
    Published("abstract.tpot", Family.ABSTRACT, "abstract (January: 66 %, March: 62 %)",
              "largest gain in TPOT attainment over another system", 62, 66, "points", 0.5),
    Published("abstract.tbt", Family.ABSTRACT, "abstract (January: 48 %, March: 66 %)",
              "largest gain in TBT attainment over another system", 48, 66, "points", 0.5),
    Published("ablation.uniform", Family.ABLATION, _ABLATION,
              "uniform placement, TBT attainment", 45.1, 45.1, "%", 0.05),
    Published("ablation.request", Family.ABLATION, _ABLATION,
              "+ placement per request", 54.5, 54.5, "%", 0.05),
    Published("ablation.pause", Family.ABLATION, _ABLATION,
              "+ Pause-Resume", 71.0, 71.0, "%", 0.05),
    Published("ablation.deposit", Family.ABLATION, _ABLATION,
              "+ Token Deposit (all of OrbitFlow)", 85.6, 85.6, "%", 0.05),
    Published("deposit.flexgen_plus", Family.DEPOSIT, _TD,
              "what deposit adds to FlexGen+, loose SLO", 18, 18, "points", 0.5),
    Published("deposit.dynamic", Family.DEPOSIT, _TD,
              "what deposit adds to Dynamic Heuristic, loose SLO", 11, 11, "points", 0.5),
    Published("deposit.loose", Family.DEPOSIT, _TD,
              "what deposit adds to OrbitFlow, loose SLO", 5, 5, "points", 0.5),
    Published("deposit.tight", Family.DEPOSIT, _TD,
              "what deposit adds to OrbitFlow, tight SLO", 20, 20, "points", 0.5),
    Published("victim.longest", Family.VICTIM, "fallback strategy figure",
              "pausing the longest against the better of shortest and random", 0, inf, "points"),
    Published("tail.p95_flexgen", Family.TAIL, _TAILS,
              "P95 of TBT below FlexGen's", 21.7, 21.7, "%", 0.05),
    Published("tail.p95_deepspeed", Family.TAIL, _TAILS,
              "P95 of TBT below DeepSpeed's", 68.6, 68.6, "%", 0.05),
    Published("tail.p99_deepspeed", Family.TAIL, _TAILS,
              "P99 of TBT below DeepSpeed's", 65, 65, "%", 0.5),
    Published("tail.p99_least", Family.TAIL, _TAILS,
              "P99 of TBT below the others', least", 3, 3, "%", 0.5),
    Published("tail.p99_most", Family.TAIL, _TAILS,
              "P99 of TBT below the others', most", 9, 9, "%", 0.5),
    Published("tail.abstract", Family.TAIL, "abstract", "P95 latency reduced by", 38, 38, "%", 0.5,
              "the abstract does not say against whom"),
    Published("throughput.deepspeed", Family.THROUGHPUT, "abstract, throughput figure",
              "throughput against DeepSpeed's", 3.3, 3.3, "x", 0.05),
    Published("throughput.least", Family.THROUGHPUT, "throughput figure",
              "throughput against the others', least", 1.04, 1.04, "x", 0.005),
    Published("throughput.most", Family.THROUGHPUT, "throughput figure",
              "throughput against the others', most", 1.52, 1.52, "x", 0.005),
    Published("latency.least", Family.LATENCY, "end-to-end latency, cost of pausing",
              "mean E2E above the adaptive baselines', least", 12, 12, "%", 0.5),
    Published("latency.most", Family.LATENCY, "end-to-end latency, cost of pausing",
              "mean E2E above the adaptive baselines', most", 21, 21, "%", 0.5),
    Published("planner.calls", Family.PLANNER, _TABLE_1,
              "solver calls per request, both lengths and batch dynamic", 48.33, 48.33, "", 0.005),
    Published("planner.share", Family.PLANNER, _TABLE_1,
              "solver's share of E2E time, both dynamic", 0.64, 0.64, "%", 0.005),
    Published("planner.static", Family.PLANNER, _TABLE_1,
              "solver's share, both static (1.25 calls per request)", 0.27, 0.27, "%", 0.005,
              "traces with groups of identical requests are another recipe"),
    Published("planner.token", Family.PLANNER, _TABLE_1,
              "solver's share, lengths dynamic (11.92 calls per request)", 0.37, 0.37, "%", 0.005,
              "traces of batches that start together are another recipe"),
    Published("planner.full_search", Family.PLANNER, "search space pruning",
              "layer subsets beyond strides that beat the best stride", 16.7, 16.7, "%", 0.05,
              "the planner offers strides, as the paper's; every subset is searched in no policy"),
)  # fmt: skip
