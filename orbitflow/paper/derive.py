"""Ours for each published number, under the paper's accounting and under the fair one.

Shares and percentages come out in percent, gains in points of percentage, ratios as they are. Where
the paper says "the others" or "up to", the extreme is taken of the means over seeds, and the
interval is that of the pair that has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

from benchmarks.paper.experiments import Scope
from benchmarks.paper.measured import Measured, difference, quotient
from benchmarks.paper.points import Point, Setting
from benchmarks.paper.published import PUBLISHED
from benchmarks.paper.systems import (
    BASELINES,
    DEEPSPEED,
    DEPOSIT,
    DYNAMIC,
    FLEXGEN,
    FLEXGEN_PLUS,
    ORBITFLOW,
    PAUSING,
    PER_REQUEST,
    UNIFORM,
    System,
    with_victim,
)

from orbitflow.study.statistics import Estimate


@dataclass(frozen=True, slots=True)
class Accounting:
    """Which figures stand for a measure under one way of counting; None: it has no such measure."""

    tbt: str
    tpot: str
    p95: str
    p99: str
    before_deposit: str | None
    after_deposit: str | None


PAPERS = Accounting(
    "paper.tbt_attainment",
    "paper.tpot_attainment",
    "paper.tbt_p95_s",
    "paper.tbt_p99_s",
    "paper.tbt_plain",
    "paper.tbt_banked",
)
FAIR = Accounting("timely_share", "tpot_attainment", "tbt_s.p95", "tbt_s.p99", None, None)

_OTHERS = (FLEXGEN, FLEXGEN_PLUS, DYNAMIC)  # complete every request, so their tails compare


class Context:
    """What derivations read: the runs, their scope, and the accounting."""

    def __init__(self, measured: Measured, scope: Scope, counts: Accounting) -> None:
        self.measured = measured
        self.scope = scope
        self.counts = counts
        self.main = scope.base
        self.tight = replace(scope.base, slo_scale=scope.scales[0])
        self.loose = replace(scope.base, slo_scale=scope.scales[-1])
        self.hardest = replace(self.tight, rate=scope.rates[-1])

    def percent(self, system: System, setting: Setting, figure: str) -> Estimate | None:
        """A share, in percent."""
        return scaled(self.measured.of(Point(system, setting), figure), 100)

    def gain(self, system: System, other: System, setting: Setting, figure: str) -> Estimate | None:
        """Points of percentage that a system has more than another."""
        pair = Point(system, setting), Point(other, setting)
        return scaled(self.measured.paired(*pair, figure, difference), 100)

    def ratio(self, system: System, other: System, figure: str) -> Estimate | None:
        """A figure of a system over another's, in the main setting."""
        pair = Point(system, self.main), Point(other, self.main)
        return self.measured.paired(*pair, figure, quotient)

    def below(self, other: System, figure: str) -> Estimate | None:
        """Percent that OrbitFlow's figure lies below another's."""
        ratio = self.ratio(ORBITFLOW, other, figure)
        return None if ratio is None else Estimate(100 * (1 - ratio.mean), _half(ratio, 100))

    def above(self, other: System, figure: str) -> Estimate | None:
        """Percent that OrbitFlow's figure lies above another's."""
        ratio = self.ratio(ORBITFLOW, other, figure)
        return None if ratio is None else Estimate(100 * (ratio.mean - 1), _half(ratio, 100))


class Derived(NamedTuple):
    """Ours; what it is of, where that was chosen by the figures or says more; and what there was
    to gain, in points, where it is a gain.
    """

    value: Estimate
    detail: str | None = None
    room: float | None = None


Derivation = Callable[[Context], Derived | None]


def derive(key: str, context: Context) -> Derived | None:
    """Ours for the published number of that key; None where it was not run or has no meaning."""
    known = DERIVATIONS.get(key)
    return None if known is None else known(context)


def scaled(value: Estimate | None, factor: float) -> Estimate | None:
    """An estimate in another unit."""
    return None if value is None else Estimate(value.mean * factor, _half(value, factor))


def _half(value: Estimate, factor: float) -> float | None:
    return None if value.half_width is None else value.half_width * factor


def _plainly(value: Estimate | None) -> Derived | None:
    return None if value is None else Derived(value)


def _extreme(
    choose: Callable[[Iterable[float]], float], found: Iterable[tuple[str, Estimate | None]]
) -> Derived | None:
    """The extreme mean, and whose it is."""
    known = [Derived(value, f"here of {name}") for name, value in found if value is not None]
    if not known:
        return None
    wanted = choose(derived.value.mean for derived in known)
    return next(derived for derived in known if derived.value.mean == wanted)


def _largest_gain(c: Context, figure: str) -> Derived | None:
    settings = [replace(c.main, rate=r, slo_scale=s) for s in c.scope.scales for r in c.scope.rates]
    return _extreme(
        max,
        (
            (
                f"{other.title} at rate {s.rate:g} x, scale {s.slo_scale:g}",
                c.gain(ORBITFLOW, other, s, figure),
            )
            for s in settings
            for other in BASELINES
        ),
    )


def _over(
    compare: Callable[[Context, System], Estimate | None],
    choose: Callable[[Iterable[float]], float],
    others: Sequence[System],
) -> Derivation:
    return lambda c: _extreme(choose, ((o.title, compare(c, o)) for o in others))


_PRINTED = {row.key: row.low for row in PUBLISHED}


def _component(key: str, system: System, last_key: str, before: System) -> Derivation:
    """A component's row, and what it adds to the row before it beside what the paper's adds."""
    published = _PRINTED[key] - _PRINTED[last_key]

    def found(c: Context) -> Derived | None:
        value = c.percent(system, c.tight, c.counts.tbt)
        gain = c.gain(system, before, c.tight, c.counts.tbt)
        if value is None or gain is None:
            return _plainly(value)
        detail = f"it adds {gain.mean:+.1f} points to the row before, the paper's {published:+.1f}"
        return Derived(value, detail)

    return found


def _banked(system: System) -> Derivation:
    """Accounting alone, on the same run. Fair books bank for everybody: there is no before."""

    def found(c: Context) -> Derived | None:
        before, after = c.counts.before_deposit, c.counts.after_deposit
        if before is None or after is None:
            return None
        point = Point(system, c.loose)
        gain = c.measured.paired(point, point, after, difference, other=before)
        return _with_room(scaled(gain, 100), c.percent(system, c.loose, before))

    return found


def _added(c: Context, setting: Setting) -> Derived | None:
    """What deposit adds where plans know of it."""
    gain = c.gain(DEPOSIT, PAUSING, setting, c.counts.tbt)
    return _with_room(gain, c.percent(PAUSING, setting, c.counts.tbt))


def _with_room(gain: Estimate | None, before: Estimate | None) -> Derived | None:
    if gain is None or before is None:
        return None
    return Derived(gain, f"from {before.mean:.1f} %", 100 - before.mean)


def _questions(c: Context) -> Derived | None:
    point = Point(ORBITFLOW, c.main)
    found = c.measured.paired(point, point, "planner.searches", quotient, other="requests")
    return _plainly(found)


_THROUGHPUT = "throughput_tokens_per_s"
_ADAPTIVE = (FLEXGEN_PLUS, DYNAMIC)
_LONGEST = with_victim("longest")
_OTHER_VICTIMS = (with_victim("shortest"), with_victim("random"))


def _p99_below(c: Context, other: System) -> Estimate | None:
    return c.below(other, c.counts.p99)


def _faster(c: Context, other: System) -> Estimate | None:
    return c.ratio(ORBITFLOW, other, _THROUGHPUT)


def _slower(c: Context, other: System) -> Estimate | None:
    return c.above(other, "e2el_s.mean")


def _there(c: Context, other: System) -> Estimate | None:
    return c.percent(other, c.hardest, c.counts.tbt)


def _better_than(c: Context, other: System) -> Estimate | None:
    return c.gain(_LONGEST, other, c.main, c.counts.tbt)


DERIVATIONS: Mapping[str, Derivation] = MappingProxyType(
    {
        "sweep.orbitflow": lambda c: _plainly(_there(c, ORBITFLOW)),
        "sweep.others": _over(_there, max, BASELINES),
        "abstract.tpot": lambda c: _largest_gain(c, c.counts.tpot),
        "abstract.tbt": lambda c: _largest_gain(c, c.counts.tbt),
        "ablation.uniform": lambda c: _plainly(c.percent(UNIFORM, c.tight, c.counts.tbt)),
        **{
            key: _component(key, system, last_key, before)
            for key, system, last_key, before in (
                ("ablation.request", PER_REQUEST, "ablation.uniform", UNIFORM),
                ("ablation.pause", PAUSING, "ablation.request", PER_REQUEST),
                ("ablation.deposit", DEPOSIT, "ablation.pause", PAUSING),
            )
        },
        "deposit.flexgen_plus": _banked(FLEXGEN_PLUS),
        "deposit.dynamic": _banked(DYNAMIC),
        "deposit.loose": lambda c: _added(c, c.loose),
        "deposit.tight": lambda c: _added(c, c.tight),
        "victim.longest": _over(_better_than, min, _OTHER_VICTIMS),
        "tail.p95_flexgen": lambda c: _plainly(c.below(FLEXGEN, c.counts.p95)),
        "tail.p95_deepspeed": lambda c: _plainly(c.below(DEEPSPEED, c.counts.p95)),
        "tail.p99_deepspeed": lambda c: _plainly(c.below(DEEPSPEED, c.counts.p99)),
        "tail.p99_least": _over(_p99_below, min, _OTHERS),
        "tail.p99_most": _over(_p99_below, max, _OTHERS),
        "throughput.deepspeed": lambda c: _plainly(_faster(c, DEEPSPEED)),
        "throughput.least": _over(_faster, min, _OTHERS),
        "throughput.most": _over(_faster, max, _OTHERS),
        "latency.least": _over(_slower, min, _ADAPTIVE),
        "latency.most": _over(_slower, max, _ADAPTIVE),
        "planner.calls": _questions,
        "planner.share": lambda c: _plainly(c.percent(ORBITFLOW, c.main, "planner.runtime_share")),
    }
)
