"""`simulate`: policies over one trace on one machine, and the run folder of `orbitflow sim`.

The command and the function run the same code: equal options and seeds give equal figures, and
with a folder equal bytes, save for the wall-clock times of `env.json`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Unpack

from orbitflow.api.options import (
    AnyPolicy,
    AnyTrace,
    Options,
    PathLike,
    config_of,
    policies_of,
    profile_of,
    trace_of,
)
from orbitflow.api.result import Result
from orbitflow.api.side_by_side import Simulated, can_run_apart, simulate_side_by_side
from orbitflow.bound.bound import Bound
from orbitflow.config import to_toml
from orbitflow.errors import UserError
from orbitflow.formats.reading import read_json
from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.profile import Profile
from orbitflow.results.bound_share import bound_of, with_shares
from orbitflow.results.kept import FolderOutputs, MemoryOutputs, RunTables
from orbitflow.results.run_files import environment, resolved, summary
from orbitflow.results.run_folder import RunFolder
from orbitflow.results.summary import SCHEMA_VERSION, PolicyReport
from orbitflow.scenario import Scenario, build_scenario
from orbitflow.session import Outputs
from orbitflow.sim.run import simulate_policy
from orbitflow.traces import Trace, read_options, resolve, write_canonical
from orbitflow.units import TimeUnit


def _nobody(name: str, requests: int) -> None:
    """Hear how many requests of a policy are over."""


class Ran(NamedTuple):
    """What a scenario came to: the document of `summary.json`, and what it is made of."""

    content: dict[str, object]
    reports: Mapping[str, PolicyReport]
    bound: Bound | None
    wall_s: Mapping[str, float]


def simulate(
    trace: AnyTrace,
    policies: AnyPolicy | Sequence[AnyPolicy] = (),
    *,
    profile: PathLike | Profile | None = None,
    bound: bool = False,
    out: PathLike | None = None,
    **options: Unpack[Options],
) -> Result:
    """Simulate policies over a trace, as `orbitflow sim` does.

    `trace` is a name, a path, a loaded trace, or a sequence of requests, which is sorted and
    counted from its first arrival. Each policy is a name, "path/to/file.py:Class",
    "package.module:Class", a subclass of `Policy`, or an object of one, which is copied for the
    run; none gives the command's defaults. `profile` is a name, a path or a profile. `bound` adds
    what no policy can exceed. Without `out` nothing is written; with it, a new run folder. Other
    options are the fields of `RunConfig`, such as `slo_scale=2`, `slo_tbt_s="100ms"`.

    Raise a UserError for wrong input, in one line, and a PolicyError for a decision that does not
    fit.
    """
    asked, wanted = policies_of(policies), trace_of(trace)
    name, given = profile_of(profile)
    config = config_of(wanted.name, asked.names, name, options)
    if config.timeline and out is None:
        raise UserError("timeline=True writes a file: add out='a/new/folder'")
    if config.model is not None and given is not None:
        raise UserError(f"profile {given.name} has its model already: leave model= out")
    if given is not None and config.tp not in (None, given.gpus):
        raise UserError(f"tp={config.tp}: the profile given is of {given.gpus} GPUs: leave tp= out")
    started, began_s = now(), time.perf_counter()
    folder = None if out is None else RunFolder(Path(out))  # refuse a bad one before anything else
    try:
        scenario = build_scenario(config, raw=wanted.raw, profile=given, guests=asked.makers())
    except BaseException:
        if folder is not None:
            folder.discard()
        raise
    kept: RunTables
    if folder is None:
        kept = memory = MemoryOutputs()
        ran = run_policies(scenario, memory, bounded=bound)
    else:
        kept = FolderOutputs(folder.path)
        ran = run_in_folder(scenario, folder, bounded=bound, started=started, began_s=began_s)
    warnings = [notice for report in ran.reports.values() for notice in report.notices]
    return Result(
        ran.content,
        kept,
        notices=(*scenario.notices, *warnings),
        path=None if folder is None else folder.path,
    )


def load_trace(
    name_or_path: PathLike,
    *,
    num_requests: int | None = None,
    time_unit: TimeUnit | str | None = None,
    columns: str | None = None,
) -> Trace:
    """The trace of a name or a file, or its first requests. Raise a TraceError if there is none.

    `time_unit` is the unit of its time stamps, if not its format's; `columns` names those of any
    CSV, such as ``time=start,prompt=tokens_in,output=tokens_out``.
    """
    options = read_options(time_unit, columns)
    return resolve(os.fspath(name_or_path), limit=num_requests, options=options)


def write_trace(trace: Trace, path: PathLike, *, overwrite: bool = False) -> None:
    """Write a trace as JSON lines, which `load_trace` and the commands read. Raise a TraceError if
    the file exists and `overwrite` is false, or cannot be written.
    """
    write_canonical(trace, Path(path), overwrite=overwrite)


def load_profile(name_or_path: PathLike, *, model: str | None = None) -> Profile:
    """A built-in profile or a profile file, for a model where it takes any. Raise a ProfileError if
    there is none.
    """
    return resolve_profile(os.fspath(name_or_path), model)


def load_run(path: PathLike) -> Result:
    """The result that a run folder holds, of `simulate` or of the commands `sim` and `run`. Raise
    a UserError if it holds none that is finished.
    """
    folder = Path(path)
    if (folder / "INCOMPLETE").exists():
        raise UserError(f"{folder} is of a run that did not finish: run it again")
    if not (folder / "summary.json").exists():
        raise UserError(f"{folder} holds no run: it has no summary.json")
    content = read_json(folder / "summary.json", "name the folder of a run")
    try:
        if content["schema_version"] != SCHEMA_VERSION:
            raise UserError(
                f"{folder} has schema_version {content['schema_version']}: orbitflow reads "
                f"{SCHEMA_VERSION}; use orbitflow {content.get('orbitflow_version')}, that wrote it"
            )
        return Result(content, FolderOutputs(folder), path=folder)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder}/summary.json is no run's summary ({error!r})") from None


def run_policies(
    scenario: Scenario,
    outputs: Outputs,
    *,
    bounded: bool,
    told: Callable[[str, int], None] = _nobody,
    workers: int = 1,
) -> Ran:
    """Simulate a scenario under each of its policies, with shares of the bound if `bounded`. `told`
    hears how many requests of which policy are over. A run folder takes several at a time.
    """
    bound = bound_of(scenario) if bounded else None
    found: Mapping[str, Simulated]
    if isinstance(outputs, RunFolder) and can_run_apart(scenario, workers):
        found = simulate_side_by_side(scenario, outputs.path, workers, told)
    else:
        found = {name: _simulated(scenario, name, outputs, told) for name in scenario.policies}
    reports = {name: one.report for name, one in found.items()}
    wall_s = {name: one.wall_s for name, one in found.items()}
    if bound is not None:
        reports = {name: with_shares(report, bound) for name, report in reports.items()}
    return Ran(summary(scenario, reports, bound), reports, bound, wall_s)


def _simulated(
    scenario: Scenario, name: str, outputs: Outputs, told: Callable[[str, int], None]
) -> Simulated:
    began_s, over = time.perf_counter(), 0

    def advance(requests: int) -> None:
        nonlocal over
        over += requests
        told(name, over)

    told(name, 0)
    report = simulate_policy(scenario, name, outputs, advance)
    return Simulated(report, time.perf_counter() - began_s)


def run_in_folder(
    scenario: Scenario,
    folder: RunFolder,
    *,
    bounded: bool,
    started: str,
    began_s: float,
    told: Callable[[str, int], None] = _nobody,
    workers: int = 1,
) -> Ran:
    """The same into a new run folder, which says so where the run does not finish. `started` is
    the date and `began_s` the `time.perf_counter()` of the start.
    """
    env = environment(sys.argv, started)
    folder.write_text("config.toml", to_toml(scenario.config, resolved(scenario)))
    folder.write_json("env.json", env)
    try:
        ran = run_policies(scenario, folder, bounded=bounded, told=told, workers=workers)
    except BaseException as error:
        folder.incomplete(error)
        raise
    folder.write_json("summary.json", ran.content)
    timing = {"wall_s": time.perf_counter() - began_s, "policy_wall_s": ran.wall_s}
    folder.write_json("env.json", env | timing)
    folder.complete()
    return ran


def now() -> str:
    """The date of a run's start."""
    return datetime.now(UTC).isoformat(timespec="seconds")
