"""A study before it runs: base configuration, grid or search, seeds, and the SLO of all cells.

tau is the base configuration's in every cell, and so is the machine that TTFT limits are taken
from: what a what-if changes is the service, not the promise. Where slo_scale is itself in the grid,
tau = that scale times the base configuration's full pass. Design section 9.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, NamedTuple

from orbitflow import __version__
from orbitflow.config import RunConfig
from orbitflow.errors import UserError
from orbitflow.machine.catalog import DEFAULT_PROFILE, resolve_profile
from orbitflow.machine.model import model_from_config
from orbitflow.policy.registry import digests, expand
from orbitflow.scenario import Scenario, build_scenario
from orbitflow.slo import Slo
from orbitflow.study.grid import Axis, Cell, Grid
from orbitflow.study.keys import POLICY, typed
from orbitflow.study.search import Search
from orbitflow.traces import read_options, resolve
from orbitflow.traces.trace import Trace
from orbitflow.units import TimeUnit, format_seconds

SCHEMA_VERSION = 1
SEED_JITTER = 0.01
MOST_CELLS = 1_000_000


class Job(NamedTuple):
    """One simulation of a study, or the bound of a group: then its cell has no policy."""

    cell: Cell
    seed: int

    @property
    def bound(self) -> Job:
        """The bound that holds for a simulation."""
        return Job(self.cell.group, self.seed)


@dataclass(frozen=True, slots=True)
class Study:
    """Everything that decides the rows of a study. A search has `trials` instead of the cells of a
    grid, whose axes then name the keys and their extreme values.
    """

    base: RunConfig
    grid: Grid
    seeds: int
    scenario: Scenario  # of the base configuration
    full_pass_s: float
    inputs: dict[str, str]  # digests of what was read
    notices: tuple[str, ...]
    bounded: bool = False  # the same study with bounds or without
    search: Search | None = None
    trials: tuple[Cell, ...] = ()  # as far as they are known
    guests: Mapping[str, bytes] = field(default_factory=dict)  # policies given as objects, pickled

    @property
    def cells(self) -> list[Cell]:
        """Every cell, in order."""
        return self.grid.cells() if self.search is None else list(self.trials)

    def jobs(self) -> list[Job]:
        """Everything to do: bounds, if wanted, then simulations."""
        return [*self.bounds(), *self.simulations()]

    def bounds(self) -> list[Job]:
        """The bounds that are wanted: one for each seed of the cells that differ in policy only."""
        if not self.bounded:
            return []
        return list(dict.fromkeys(job.bound for job in self.simulations()))

    def simulations(self) -> list[Job]:
        """Every simulation, seeds of a cell together."""
        cells = self.cells
        if "seed" in self.grid.keys:
            return [Job(cell, int(cell.values["seed"])) for cell in cells]
        return [Job(c, self.base.seed + n) for c in cells for n in range(self.seeds)]

    def config(self, job: Job) -> RunConfig:
        """The configuration of one simulation; that of a bound names no policy."""
        values = job.cell.values
        policies = (str(values.pop(POLICY)),) if POLICY in values else ()
        changes: dict[str, Any] = {key: typed(key, value) for key, value in values.items()}
        return replace(self.base, **{**changes, "policies": policies, "seed": job.seed})

    def slo(self, job: Job) -> Slo:
        """The limits of one simulation."""
        config, keys, slo = self.config(job), self.grid.keys, self.scenario.slo
        tbt_limit_s, origin = slo.tbt_limit_s, slo.origin
        if "slo_tbt_s" in keys:
            assert config.slo_tbt_s is not None
            tbt_limit_s, origin = config.slo_tbt_s, "--slo-tbt"
        elif "slo_scale" in keys:
            tbt_limit_s = config.slo_scale * self.full_pass_s
            origin = f"{config.slo_scale:g} x {format_seconds(self.full_pass_s)} of the base"
        cost = self.scenario.believed
        return Slo(tbt_limit_s, config.slo_ttft_s, config.slo_ttft_scale, origin, cost)

    def definition(self) -> dict[str, object]:
        """What makes two studies the same; the content of `study.json`."""
        base = {f.name: getattr(self.base, f.name) for f in fields(self.base)}
        found: dict[str, object] = {
            "schema_version": SCHEMA_VERSION,
            "orbitflow_version": __version__,
            "base": {k: list(v) if isinstance(v, tuple) else v for k, v in base.items()},
            "grid": {axis.key: list(axis.values) for axis in self.grid.axes},
            "seeds": self.seeds,
            "slo_tbt_s": self.scenario.slo.tbt_limit_s,
            "full_pass_s": self.full_pass_s,
            "inputs": self.inputs,
        }
        if self.search is not None:
            found["search"] = self.search.to_json()
        return found


def plan_study(
    base: RunConfig,
    grid: Grid,
    *,
    seeds: int = 1,
    arrival_jitter: float | None = None,
    bounded: bool = False,
    search: Search | None = None,
    guests: Mapping[str, bytes] | None = None,
) -> Study:
    """Check what can be checked before anything runs. Raise a UserError for what is wrong.

    Of a search, `grid` is its own, and the base names no policy. `guests` has pickled policies by
    the names that the base calls them.
    """
    guests = guests or {}
    grid = _with_policies(grid, base, guests)
    notices = list(grid.notices)
    jitter = _jitter(grid, seeds, arrival_jitter, notices)
    base = replace(base, policies=(), arrival_jitter=jitter)
    _check(base, grid, whole=search is None)
    whole = build_scenario(replace(base, slo_scale=1.0, slo_tbt_s=None), raw=read(*reading(base)))
    study = Study(
        base=base,
        grid=grid,
        seeds=seeds,
        scenario=build_scenario(base, raw=read(*reading(base))),
        full_pass_s=whole.slo.tbt_limit_s,
        inputs=_inputs(base, grid, guests),
        notices=tuple(notices),
        bounded=bounded,
        search=search,
        trials=() if search is None else search.drawn(),
        guests=guests,
    )
    for job in study.simulations() if search is None else _extremes(grid, base.seed):
        study.config(job)  # refuses a value out of range
    return study


@lru_cache(maxsize=8)
def read(
    name: str, limit: int | None, time_unit: TimeUnit | None = None, columns: str | None = None
) -> Trace:
    """The trace of that name, read once."""
    return resolve(name, limit=limit, options=read_options(time_unit, columns))


def reading(config: RunConfig) -> tuple[str, int | None, TimeUnit | None, str | None]:
    """What `read` is to be asked for a configuration's trace."""
    return config.trace, config.num_requests, config.time_unit, config.columns


def _with_policies(grid: Grid, base: RunConfig, guests: Mapping[str, bytes]) -> Grid:
    """Policies are always an axis: those of the grid, or else those of the base configuration."""
    if POLICY not in grid.keys:
        policies = tuple(expand(base.policies, guests))
        return grid._replace(axes=(Axis(POLICY, policies), *grid.axes))
    if base.policies:
        raise UserError("--policy and --grid policy=... are both given: keep the grid's")
    return grid


def _jitter(grid: Grid, seeds: int, given: float | None, notices: list[str]) -> float:
    if seeds < 1:
        raise UserError(f"--seeds {seeds} must be at least 1")
    if {"slo_scale", "slo_tbt_s"} <= set(grid.keys):
        raise UserError("slo_scale and slo_tbt exclude each other: vary one of them")
    if seeds > 1 and "seed" in grid.keys:
        raise UserError("--seeds and --grid seed=... are both given: keep one of them")
    varies = seeds > 1 or "seed" in grid.keys
    if not varies or "arrival_jitter" in grid.keys:
        return given or RunConfig.arrival_jitter
    if given is None:
        notices.append(f"--arrival-jitter {SEED_JITTER:g}, without which seeds would not differ")
        return SEED_JITTER
    if not given:
        notices.append("--arrival-jitter 0: all seeds will give the same figures")
    return given


def _extremes(grid: Grid, seed: int) -> list[Job]:
    """A simulation for every extreme value of every key, all else as in the base."""
    items = [(axis.key, value) for axis in grid.axes for value in axis.values]
    return [Job(Cell((item,)), seed) for item in items]


def _check(base: RunConfig, grid: Grid, *, whole: bool) -> None:
    count = 1
    for axis in grid.axes:
        count *= len(axis.values)
        for value in axis.values:
            if axis.key == "profile":
                resolve_profile(str(value))
            elif axis.key == "model":
                model_from_config(str(value))
            elif axis.key == "trace":
                read(*reading(replace(base, trace=str(value))))
    if whole and count > MOST_CELLS:
        raise UserError(f"the grid has {count:,} cells, the limit is {MOST_CELLS:,}: vary less")


def _inputs(base: RunConfig, grid: Grid, guests: Mapping[str, bytes]) -> dict[str, str]:
    """Digests of the traces, profiles, models and policies, for files change under their names."""
    values = {axis.key: axis.values for axis in grid.axes}
    traces = values.get("trace", (base.trace,))
    profiles = values.get("profile", (base.profile or DEFAULT_PROFILE,))
    read_as = {name: reading(replace(base, trace=str(name))) for name in traces}
    found = {f"trace {name}": _of_trace(read(*asked)) for name, asked in read_as.items()}
    for name in profiles:
        found[f"profile {name}"] = _digest(repr(resolve_profile(str(name))).encode())
    for name in values.get("model", () if base.model is None else (base.model,)):
        found[f"model {name}"] = _digest(repr(model_from_config(str(name))).encode())
    policies = [str(name) for name in values.get(POLICY, ())]
    outside = digests([name for name in policies if name not in guests])
    found |= {f"policy {name}": digest for name, digest in outside.items()}
    return found | {f"policy {name}": _digest(pickled) for name, pickled in guests.items()}


def _of_trace(trace: Trace) -> str:
    columns = (trace.arrival, trace.prompt_tokens, trace.output_tokens)
    limits = [c for c in (trace.slo_tbt_s, trace.slo_ttft_s) if c is not None]
    return _digest(b"".join(column.tobytes() for column in (*columns, *limits)))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
