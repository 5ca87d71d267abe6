"""What `orbitflow run` does once its options are read: find the device, load the model, measure,
announce, serve, report.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from orbitflow.backend.machine import Machine
from orbitflow.backend.models import LoadedModel
from orbitflow.backend.prompts import RandomPrompts
from orbitflow.backend.servable import refuse_unserved
from orbitflow.backend.serve import Backend, serve_policy
from orbitflow.backend.warm_up import warm_up
from orbitflow.cli.backend_parts import believed_profile, load_parts, refuse_too_long
from orbitflow.cli.progress import Progress
from orbitflow.config import RunConfig, to_toml
from orbitflow.policy.registry import expand
from orbitflow.profile import to_json
from orbitflow.replay import Replay
from orbitflow.run_folder import RunFolder
from orbitflow.scenario import Scenario, build_scenario
from orbitflow.session import outfit
from orbitflow.summary import PolicyReport
from orbitflow.summary_file import environment, resolved, summary
from orbitflow.traces import resolve


def run_on_backend(
    config: RunConfig, replay: Replay, out: Path | None, *, as_json: bool, quiet: bool
) -> Path:
    """Serve and leave a run folder behind. Ctrl-C leaves what was served until then."""
    talks = not (quiet or as_json)
    say = _say if talks else _silent
    started, began_s = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    folder = None if out is None else RunFolder(out)  # refuse a bad one before reading anything
    try:
        run = _prepare(config, replay, say)
    except BaseException:
        if folder is not None:
            folder.discard()
        raise
    scenario = run.scenario
    if talks:
        from orbitflow.tables import print_scenario

        print_scenario(scenario)
    folder = folder or RunFolder.numbered(scenario.trace.name)
    env = environment(sys.argv, started) | _torch_environment(run.machine)
    folder.write_text("config.toml", to_toml(config, resolved(scenario), replay=asdict(replay)))
    folder.write_text("profile.json", to_json(scenario.profile))
    folder.write_json("env.json", env)
    try:
        reports, wall_s = _serve(run, folder, shown=talks)
    except BaseException as error:
        folder.incomplete("interrupted" if isinstance(error, KeyboardInterrupt) else str(error))
        print(f"orbitflow: unfinished results are in {folder.path}", file=sys.stderr)
        raise
    content = summary(scenario, reports) | {"backend": _described(run, replay)}
    folder.write_json("summary.json", content)
    timing = {"wall_s": time.perf_counter() - began_s, "policy_wall_s": wall_s}
    folder.write_json("env.json", env | timing)
    folder.complete()
    if as_json:
        print(json.dumps(content, indent=2, allow_nan=False))
    else:
        from orbitflow.tables import print_results

        print_results(scenario, reports, folder.path)
    return folder.path


@dataclass(frozen=True, slots=True)
class _Run:
    """Everything that is there before the first request."""

    scenario: Scenario
    machine: Machine
    model: LoadedModel
    backend: Backend


def _prepare(config: RunConfig, replay: Replay, say: Callable[[str], object]) -> _Run:
    """Resolve what is cheap before what is dear, so that mistakes are told at once."""
    expand(config.policies)
    raw = resolve(config.trace, limit=config.num_requests)
    parts = load_parts(replay, config.seed, say)
    profile = believed_profile(config.profile, parts, replay, say)
    rate_scale = (config.rate_scale or 1.0) / replay.time_scale
    scenario = build_scenario(replace(config, rate_scale=rate_scale), raw=raw, profile=profile)
    refuse_too_long(scenario.trace, parts.decoder)
    for name in scenario.policies:
        refuse_unserved(outfit(scenario, name), on_cpu=parts.machine.is_cpu)
    prompts = RandomPrompts(config.seed, parts.model.architecture.spec.vocab_size)
    backend = Backend(parts.machine, parts.decoder, prompts, say)
    backend.refuse_too_large(scenario)
    return _Run(scenario, parts.machine, parts.model, backend)


def _serve(
    run: _Run, folder: RunFolder, *, shown: bool
) -> tuple[dict[str, PolicyReport], dict[str, float]]:
    scenario = run.scenario
    reports: dict[str, PolicyReport] = {}
    wall_s: dict[str, float] = {}
    with Progress(len(scenario.trace), shown=shown) as progress:
        for name in scenario.policies:
            warm_up(run.backend.decoder)
            began_s = time.perf_counter()
            progress.begin(name)
            served = serve_policy(scenario, name, run.backend, folder, progress.advance)
            if not served.is_complete:
                raise KeyboardInterrupt
            reports[name] = served.report
            wall_s[name] = time.perf_counter() - began_s
    return reports, wall_s


def _described(run: _Run, replay: Replay) -> dict[str, object]:
    """The `backend` object of the summary: these figures were measured, and on what."""
    return {
        "device": run.machine.name,
        "model": run.model.architecture.spec.name,
        "weights": "random" if run.model.folder is None else str(run.model.folder),
        "dtype": run.model.architecture.dtype,
        "link_bytes_per_s": run.machine.link_bytes_per_s,
        "time_scale": replay.time_scale,
    }


def _torch_environment(machine: Machine) -> dict[str, object]:
    return {
        "torch": torch.__version__,
        "device": machine.name,
        "torch_threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _silent(line: str) -> None:
    pass
