"""The figures of the paper's evaluation, as the points that each needs.

A figure has sections (or one without a name), columns and rows of systems. One with a single column
shows several metrics of it; the others show two metrics in every cell, the paper's count and ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from benchmarks.paper.metrics import (
    BANKED,
    COUNTED,
    LATENCIES,
    PLAIN,
    PLANNER,
    TIMELY,
    TPOT,
    Metric,
)
from benchmarks.paper.points import A6000X4, Point, Setting
from benchmarks.paper.systems import (
    COMPARED,
    DEEPSPEED,
    DEPOSIT,
    DYNAMIC,
    FLEXGEN,
    FLEXGEN_PLUS,
    GATED,
    ORBIT,
    ORBITFLOW,
    PAUSING,
    PER_REQUEST,
    UNIFORM,
    System,
    with_victim,
)


class Named(NamedTuple):
    """A setting under its label."""

    label: str
    setting: Setting


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: `sections` of columns, and which systems are its rows."""

    key: str
    title: str
    sections: tuple[tuple[str, tuple[Named, ...]], ...]
    systems: tuple[System, ...]
    metrics: tuple[Metric, ...] = (COUNTED, TIMELY)
    note: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The labels of its columns."""
        return tuple(named.label for named in self.sections[0][1])

    def points(self) -> list[Point]:
        """Everything that it needs."""
        settings = [named.setting for _, columns in self.sections for named in columns]
        return [Point(system, setting) for setting in settings for system in self.systems]


class Scope(NamedTuple):
    """How much of it is run."""

    seeds: int
    requests: int
    scales: tuple[float, ...]
    rates: tuple[float, ...]
    cvs: tuple[float, ...]
    batches: tuple[int, ...]
    contexts: tuple[float, ...]
    parallel: bool  # tensor parallelism

    @property
    def base(self) -> Setting:
        """The setting that figures vary."""
        return Setting(requests=self.requests)


FULL = Scope(
    seeds=5,
    requests=26,
    scales=(1.0, 1.5, 2.5),
    rates=(1.0, 2.0, 5.0),
    cvs=(1.0, 4.0, 7.0),
    batches=(2, 4, 8),
    contexts=(0.25, 0.5, 1.0),
    parallel=True,
)
QUICK = Scope(
    seeds=2,
    requests=12,
    scales=(1.0, 2.5),
    rates=(2.0, 5.0),
    cvs=(1.0, 7.0),
    batches=(2, 4),
    contexts=(0.5, 1.0),
    parallel=False,
)


def figures(scope: Scope) -> list[Figure]:
    """Every figure, in the paper's order as far as it has them."""
    return [
        _rates(scope),
        _cvs(scope),
        _batches(scope),
        _contexts(scope),
        *([_parallel(scope)] if scope.parallel else []),
        _ablation(scope),
        _deposit(scope),
        _victims(scope),
        _latencies(scope),
        _planner(scope),
    ]


def all_points(wanted: Iterable[Figure]) -> list[Point]:
    """The points of figures, each once."""
    return list(dict.fromkeys(point for figure in wanted for point in figure.points()))


def _plain(columns: Sequence[Named]) -> tuple[tuple[str, tuple[Named, ...]], ...]:
    return (("", tuple(columns)),)


def _rates(scope: Scope) -> Figure:
    sections = tuple(
        (
            f"SLO scale {scale:g}",
            tuple(
                Named(f"rate {rate:g} x", replace(scope.base, rate=rate, slo_scale=scale))
                for rate in scope.rates
            ),
        )
        for scale in scope.scales
    )
    return Figure("rate", "Attainment against arrival rate and SLO scale", sections, COMPARED)


def _cvs(scope: Scope) -> Figure:
    columns = [Named(f"CV {cv:g}", replace(scope.base, cv=cv)) for cv in scope.cvs]
    return Figure("cv", "Attainment against burstiness, SLO scale 1.5", _plain(columns), COMPARED)


def _batches(scope: Scope) -> Figure:
    columns = [
        Named(f"batch {batch}", replace(scope.base, batch=batch, slo_scale=1.0))
        for batch in scope.batches
    ]
    title = "Attainment against batch size, SLO scale 1"
    return Figure("batch", title, _plain(columns), COMPARED)


def _contexts(scope: Scope) -> Figure:
    columns = [
        Named(f"{32 * context:g}K", replace(scope.base, context=context))
        for context in scope.contexts
    ]
    note = (
        "32K is the batch's context in the main workload, the paper's longest on one GPU; lengths, "
        "arrivals and capacity scale together. Longer ones are left out for their time: "
        "`orbitflow sim --trace paper:context=4` runs 128K."
    )
    title = "Attainment against context length, one GPU, SLO scale 1.5"
    return Figure("context", title, _plain(columns), COMPARED, note=note)


def _parallel(scope: Scope) -> Figure:
    setting = replace(scope.base, context=0.5, profile=A6000X4)
    note = (
        "The published fit of 4 x A6000 with Llama 3 70B (R2 0.50), one link for the KV of all "
        "GPUs. The paper goes on to 128K, which takes more time than all the rest together: "
        "`orbitflow sim --trace paper:context=4 --profile a6000x4-llama3-70b-paper` runs it. "
        "TP-2 is left out: no fit of it is published."
    )
    return Figure(
        "tp4",
        "TP-4: Llama 3 70B, contexts of 16K, SLO scale 1.5",
        _plain([Named("TP-4", setting)]),
        (DEEPSPEED, FLEXGEN, FLEXGEN_PLUS, DYNAMIC, ORBITFLOW, GATED),
        (COUNTED, TPOT, TIMELY),
        note,
    )


def _ablation(scope: Scope) -> Figure:
    systems = (UNIFORM, PER_REQUEST, PAUSING, DEPOSIT, GATED)
    return Figure("ablation", "Components, one added at a time", _by_scale(scope), systems)


def _deposit(scope: Scope) -> Figure:
    return Figure(
        "deposit",
        "Token deposit as accounting: the same runs without it and with it",
        _by_scale(scope),
        (FLEXGEN_PLUS, DYNAMIC, ORBITFLOW),
        (PLAIN, BANKED),
    )


def _victims(scope: Scope) -> Figure:
    victims = [with_victim(name) for name in ("longest", "shortest", "random", "density")]
    note = "density is ours: whoever costs the fewest late tokens for the memory it frees."
    return Figure(
        "victim",
        "Whom to pause, SLO scale 1.5",
        _plain([Named("all", scope.base)]),
        tuple(victims),
        (COUNTED, TPOT, TIMELY),
        note,
    )


def _latencies(scope: Scope) -> Figure:
    columns = [Named("main", scope.base)]
    title = "Tails and throughput at rate 2 x, SLO scale 1.5"
    return Figure("latency", title, _plain(columns), (*COMPARED, ORBIT), LATENCIES)


def _planner(scope: Scope) -> Figure:
    note = (
        "In a simulation the integer program's time is modelled (5 ms a question, the profile's "
        "planner latency) and the fast search's is not charged; benchmarks/planner_speed.py "
        "measures both."
    )
    return Figure(
        "planner",
        "The planner at rate 2 x, SLO scale 1.5",
        _plain([Named("main", scope.base)]),
        (UNIFORM, PER_REQUEST, ORBITFLOW, GATED, ORBIT),
        PLANNER,
        note,
    )


def _by_scale(scope: Scope) -> tuple[tuple[str, tuple[Named, ...]], ...]:
    return _plain([Named(f"scale {s:g}", replace(scope.base, slo_scale=s)) for s in scope.scales])
