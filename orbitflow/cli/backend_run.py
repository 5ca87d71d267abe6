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

from orbitflow.backend.executor import refuse_unserved
from orbitflow.backend.machine import BackendMachine
from orbitflow.backend.model.checkpoint import LoadedModel
from orbitflow.backend.serve import Backend, RandomPrompts, serve_policy
from orbitflow.calibrate.bench import Bench
from orbitflow.cli.backend_parts import believed_profile, load_parts, refuse_too_long
from orbitflow.cli.progress import RequestProgress
from orbitflow.cli.validate import print_validation, refuse_broken, validate_folder
from orbitflow.config import Replay, RunConfig, to_toml
from orbitflow.errors import UserError
from orbitflow.machine.profile import to_json
from orbitflow.policy.registry import expand, make_policy
from orbitflow.request import Request
from orbitflow.results.run_files import environment, resolved, summary
from orbitflow.results.run_folder import RunFolder
from orbitflow.results.summary import PolicyReport
from orbitflow.scenario import Scenario, build_scenario
from orbitflow.traces import resolve, scaled

_WARM_UP_TOKENS = 1024


def run_on_backend(
    config: RunConfig,
    replay: Replay,
    out: Path | None,
    *,
    as_json: bool,
    quiet: bool,
    validates: bool = False,
) -> None:
    """Serve and leave a run folder behind, and its validation if it is wanted. Ctrl-C leaves what
    was served until then.
    """
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
        from orbitflow.cli.tables import print_scenario

        print_scenario(scenario)
    folder = folder or RunFolder.numbered(scenario.trace.name)
    env = environment(sys.argv, started) | _torch_environment(run.machine)
    folder.write_text("config.toml", to_toml(config, resolved(scenario), replay=asdict(replay)))
    folder.write_text("profile.json", to_json(scenario.profile))
    folder.write_json("env.json", env)
    try:
        reports, wall_s = _serve(run, folder, shown=talks)
    except BaseException as error:
        folder.incomplete(error)
        print(f"orbitflow: unfinished results are in {folder.path}", file=sys.stderr)
        raise
    content = summary(scenario, reports) | {"backend": _described(run, replay)}
    folder.write_json("summary.json", content)
    timing = {"wall_s": time.perf_counter() - began_s, "policy_wall_s": wall_s}
    folder.write_json("env.json", env | timing)
    folder.complete()
    if not as_json:
        from orbitflow.cli.tables import print_results

        print_results(scenario, reports, folder.path)
    broken: list[str] = []
    if validates:
        found = validate_folder(folder.path, say)
        content |= {"validation": found.content}
        broken = found.broken
        if not as_json:
            print_validation(found)
    if as_json:
        print(json.dumps(content, indent=2, allow_nan=False))
    refuse_broken(broken)


@dataclass(frozen=True, slots=True)
class _Run:
    """Everything that is there before the first request."""

    scenario: Scenario
    machine: BackendMachine
    model: LoadedModel
    backend: Backend


def _prepare(config: RunConfig, replay: Replay, say: Callable[[str], object]) -> _Run:
    """Resolve what is cheap before what is dear, so that mistakes are told at once."""
    names = _servable(config, replay, say)
    raw = resolve(config.trace, limit=config.num_requests)
    parts = load_parts(replay, config.seed, say)
    lengths = scaled(raw, context_scale=config.context_scale, output_scale=config.output_scale)
    refuse_too_long(lengths, parts.decoder.max_context_tokens)
    profile = believed_profile(config.profile, parts, replay, say)
    rate_scale = (config.rate_scale or 1.0) / replay.time_scale
    config = replace(config, policies=names, rate_scale=rate_scale)
    scenario = build_scenario(config, raw=raw, profile=profile)
    prompts = RandomPrompts(config.seed, parts.model.architecture.spec.vocab_size)
    backend = Backend(parts.machine, parts.decoder, prompts, say)
    backend.refuse_too_large(scenario)
    return _Run(scenario, parts.machine, parts.model, backend)


def _servable(config: RunConfig, replay: Replay, say: Callable[[str], object]) -> tuple[str, ...]:
    """The policies, checked before anything dear is done. `all` are those that can be served."""
    names = []
    for name in expand(config.policies):
        try:
            refuse_unserved(make_policy(name), on_cpu=replay.device == "cpu")
            names.append(name)
        except UserError as refusal:
            if "all" not in config.policies:
                raise
            say(f"note: {name} is left out: {refusal}")
    return tuple(names)


def _serve(
    run: _Run, folder: RunFolder, *, shown: bool
) -> tuple[dict[str, PolicyReport], dict[str, float]]:
    scenario = run.scenario
    reports: dict[str, PolicyReport] = {}
    wall_s: dict[str, float] = {}
    with RequestProgress(len(scenario.trace), shown=shown) as progress:
        for name in scenario.policies:
            _warm_up(run)
            began_s = time.perf_counter()
            progress.begin(name)
            served = serve_policy(scenario, name, run.backend, folder, progress.advance)
            if not served.is_complete:
                raise KeyboardInterrupt
            reports[name] = served.report
            wall_s[name] = time.perf_counter() - began_s
    return reports, wall_s


def _warm_up(run: _Run) -> None:
    """Serve a little that nobody measures: the first passes of a process load kernels."""
    with run.machine.computing():
        bench = Bench(run.backend.decoder, run.machine, _WARM_UP_TOKENS, host_pages=1)
        try:
            prompt = max(1, min(100, bench.longest_tokens - 6))  # models may be shorter than that
            bench.serve([Request(number, 0.0, prompt, 6) for number in range(3)])
        finally:
            bench.close()
    run.machine.release()


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


def _torch_environment(machine: BackendMachine) -> dict[str, object]:
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
