"""Capacity questions: the highest rate, smallest memory, slowest link that still meets a target.

At a point (a value of what is varied) every seed is simulated, and the target is met if the means
over the seeds meet it. Each seed also has a search of its own, among the same points. The promise
(tau, TTFT limits) is the base configuration's at every point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from orbitflow import errors
from orbitflow.config import RunConfig
from orbitflow.errors import UserError, nearest
from orbitflow.machine.profile import USABLE_SHARE
from orbitflow.policy.registry import expand
from orbitflow.scenario import Scenario
from orbitflow.study.bisection import (
    HARDER_AS_IT_GROWS,
    Crossing,
    Ends,
    Number,
    Varied,
    find_crossing,
    refine_crossing,
)
from orbitflow.study.figures import Target
from orbitflow.study.grid import Axis, Cell, Grid
from orbitflow.study.keys import POLICY, is_key, key_of, normalized, read_value
from orbitflow.study.stored import Row, job_id
from orbitflow.study.study import Job, Study, plan_study

LEAST_TOLERANCE, MOST_TOLERANCE = 1e-6, 0.5
_USER_ERRORS = frozenset(
    kind.__name__
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, UserError)
)


class Ask(NamedTuple):
    """A point, and the seeds that decide there."""

    policy: str
    value: Number
    seeds: tuple[int, ...]


Rows: TypeAlias = Mapping[tuple[str, int], Row]
CapacitySearch: TypeAlias = Callable[[Callable[[Ask], bool]], Crossing]


@dataclass(frozen=True, slots=True)
class CapacityQuestion:
    """Which target, and what is varied in which study."""

    study: Study  # its grid has the varied key without values
    targets: tuple[Target, ...]
    varied: Varied
    ends: Ends | None

    @property
    def policies(self) -> tuple[str, ...]:
        """Who is asked."""
        (values,) = (axis.values for axis in self.study.grid.axes if axis.key == POLICY)
        return tuple(str(value) for value in values)

    @property
    def varies_rate(self) -> bool:
        """Whether arrivals are what is varied."""
        return self.varied.key == "rate_scale"

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of every point."""
        return tuple(self.study.base.seed + n for n in range(self.study.seeds))

    def jobs(self, ask: Ask) -> list[Job]:
        """The simulations that decide a point."""
        cell = Cell(((POLICY, ask.policy), (self.varied.key, ask.value)))
        return [Job(cell, seed) for seed in ask.seeds]

    def verdict(self, rows: Rows, ask: Ask) -> bool | None:
        """Whether the target is met at a point; None while a simulation is missing. A point whose
        configuration cannot be served at all (memory without room for a page) meets nothing.
        """
        found = [rows.get(job_id(job)) for job in self.jobs(ask)]
        if any(row is not None and is_impossible(row) for row in found):
            return False
        known = [row["figures"] for row in found if row is not None and row["status"] == "ok"]
        if len(known) < len(found):
            return None
        return all(target.is_met_by(known) for target in self.targets)

    def search(self, policy: str) -> CapacitySearch:
        """The search over all seeds."""
        return lambda is_met: find_crossing(
            self.varied, self.ends, lambda value: is_met(Ask(policy, value, self.seeds))
        )

    def search_of_seed(self, policy: str, seed: int, crossing: Crossing) -> CapacitySearch:
        """The search of one seed alone, among the points that all seeds were simulated at."""
        values = tuple(one.value for one in crossing.tested)
        return lambda is_met: refine_crossing(
            self.varied, values, lambda value: is_met(Ask(policy, value, (seed,)))
        )

    def offered_rps(self, rate_scale: float) -> float | None:
        """Requests per second that the trace offers at a rate scale; None if all come at once."""
        scenario = self.study.scenario
        span_s = float(scenario.trace.arrival[-1] - scenario.trace.arrival[0])
        if not span_s:
            return None
        return len(scenario.trace) / span_s * rate_scale / scenario.rate_scale


def is_impossible(row: Row) -> bool:
    """Whether a configuration was refused, rather than its simulation failed."""
    return row["status"] != "ok" and str(row["error"]).partition(":")[0] in _USER_ERRORS


def plan_capacity(
    base: RunConfig,
    targets: tuple[Target, ...],
    vary: str,
    *,
    seeds: int,
    arrival_jitter: float | None = None,
    tolerance: float = 0.02,
) -> CapacityQuestion:
    """Check what can be checked before anything runs. Raise a UserError for what is wrong."""
    key, ends = read_vary(vary)
    policies = tuple(expand(base.policies))
    base = replace(base, policies=())
    grid = Grid((Axis(POLICY, policies), Axis(key, ())))
    study = plan_study(base, grid, seeds=seeds, arrival_jitter=arrival_jitter)
    if not LEAST_TOLERANCE <= tolerance <= MOST_TOLERANCE:
        raise UserError(
            f"--tolerance {tolerance:g} must be from {LEAST_TOLERANCE:g} to {MOST_TOLERANCE:g}"
        )
    varied = _varied(key, base, study.scenario, ends, tolerance)
    question = CapacityQuestion(study, targets, varied, ends)
    for value in (varied.start, *(ends or ())):
        for job in question.jobs(Ask(policies[0], value, question.seeds)):
            study.config(job)  # refuses a value out of range
    return question


def read_vary(option: str) -> tuple[str, Ends | None]:
    """Read `key`, or `key=low..high` for a bracket. Raise a UserError for what cannot be varied."""
    name, equals, text = option.partition("=")
    wanted = normalized(name).lower()
    if not is_key(wanted):
        known = nearest(wanted, HARDER_AS_IT_GROWS)
        raise UserError(f"--vary: no option is called {name!r}: {known}")
    key = key_of(wanted)
    if key not in HARDER_AS_IT_GROWS:
        names = ", ".join(k.removesuffix("_bytes").removesuffix("_s") for k in HARDER_AS_IT_GROWS)
        raise UserError(f"--vary {name}: more of it is neither easier nor harder: vary {names}")
    if not equals:
        return key, None
    low, dots, high = text.partition("..")
    if not dots:
        raise UserError(f"--vary {option!r}: write a bracket as {name}=low..high")
    least, most = (read_value(key, end, f"--vary {name}") for end in (low, high))
    assert isinstance(least, int | float), "every key that can be varied is a number"
    assert isinstance(most, int | float), "every key that can be varied is a number"
    if not 0 < least < most:
        raise UserError(f"--vary {option!r}: low must be above 0 and below high")
    return key, Ends(least, most) if HARDER_AS_IT_GROWS[key] else Ends(most, least)


def _varied(
    key: str, config: RunConfig, scenario: Scenario, ends: Ends | None, tolerance: float
) -> Varied:
    """The option as this base configuration has it. Raise a UserError if varying it changes
    nothing, or if the base has no value to start from and there is no bracket.
    """
    if key == "gpu_memory_bytes" and config.kv_capacity_tokens is not None:
        raise UserError("--vary gpu-memory with --kv-capacity-tokens changes nothing: drop one")
    arrivals = scenario.trace.arrival
    if key == "rate_scale" and arrivals[0] == arrivals[-1]:
        raise UserError(
            f"--vary rate-scale: all requests of {scenario.trace.name} come at once, at any rate: "
            "vary something else"
        )
    step = _step(key, scenario)
    start = _start(key, config, scenario)
    if not start or start < 0:
        if ends is None:
            raise UserError(
                f"--vary {key}: the base configuration has no {key} to start from: "
                f"write a bracket, {key}=low..high"
            )
        start = ends.easy
    return Varied(key, start if step is not None else float(start), step, tolerance)


def _start(key: str, config: RunConfig, scenario: Scenario) -> Number | None:
    """What the base configuration comes to."""
    profile = scenario.profile
    resolved: dict[str, Number | None] = {
        "rate_scale": scenario.rate_scale,
        "gpu_memory_bytes": config.gpu_memory_bytes or profile.gpu_memory_bytes,
        "kv_capacity_tokens": scenario.limits.capacity_tokens,
        "host_memory_bytes": config.host_memory_bytes or profile.host_memory_bytes,
        "slo_tbt_s": scenario.slo.tbt_limit_s,
    }
    return resolved[key] if key in resolved else getattr(config, key)


def _step(key: str, scenario: Scenario) -> int | None:
    """Bytes or tokens of one page: of all layers on the GPU, of one layer on the host."""
    model, page_tokens = scenario.profile.model, scenario.limits.page_tokens
    token_bytes = model.kv_bytes_per_token * model.kv_copies(scenario.profile.gpus)
    steps = {
        "gpu_memory_bytes": math.ceil(page_tokens * token_bytes / USABLE_SHARE),
        "kv_capacity_tokens": page_tokens,
        "host_memory_bytes": page_tokens * model.kv_bytes_per_token_per_layer,
    }
    return steps.get(key)
