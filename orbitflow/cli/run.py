"""`orbitflow run`: one trace on a real device, several policies, one table. Its workload, SLO and
planning options are those of `sim`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from orbitflow.cli.options import (
    REPLAY_FIELDS,
    RUN_FIELDS,
    AsJson,
    Given,
    Quiet,
    RunOut,
    configured,
)
from orbitflow.options import BACKEND, OUTPUT, WORKLOAD

if TYPE_CHECKING:
    from pathlib import Path

    from orbitflow.backend.machine import BackendMachine
    from orbitflow.backend.model.checkpoint import LoadedModel
    from orbitflow.backend.serve import Backend
    from orbitflow.config import Replay, RunConfig
    from orbitflow.results.run_folder import RunFolder
    from orbitflow.results.summary import PolicyReport
    from orbitflow.scenario import Scenario

_SIMULATED = (  # what only a simulated machine can be told
    "fidelity",
    "perturb",
    "link_scale",
    "compute_scale",
    "ring_extra",
    "model",
    "tp",
)
_SHOWN = (
    "device", "model", "time_scale", "policy", "kv_capacity_tokens", "max_batch", "slo_scale",
    "slo_tbt", "slo_ttft", "rate_scale", "context_scale", "num_requests", "timeline", "seed",
)  # fmt: skip
_WARM_UP_TOKENS = 1024


@configured(
    [name for name in RUN_FIELDS if name not in _SIMULATED],
    REPLAY_FIELDS,
    shown=_SHOWN,
    own_first=True,
)
def run_command(
    given: Given,
    trace: Annotated[
        str,
        typer.Option(
            help="A trace file of a known format, or a known name; `demo` is made for two CPU "
            "cores.",
            rich_help_panel=WORKLOAD,
        ),
    ] = "demo",
    profile: Annotated[
        str | None,
        typer.Option(
            help="The profile that policies plan with, made by `orbitflow calibrate`. Default: "
            "a quick measurement before the run, kept as profile.json in its folder.",
            rich_help_panel=BACKEND,
        ),
    ] = None,
    validate: Annotated[
        bool,
        typer.Option(
            "--validate",
            help="Afterwards simulate the same requests with the same profile and show the errors; "
            "`orbitflow validate` does it later.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    out: RunOut = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Serve a trace for real, with a real model and real copies, and compare policies under SLOs.

    Prompts are random tokens of the trace's lengths; every policy gets the same ones. Needs the
    extra `torch` (pip).

    Example: orbitflow run --device cpu --policy orbitflow,no-offload
    """
    from orbitflow.backend.extra import require

    require("torch", "safetensors")
    replay = given.backend()
    config = given.config(trace=trace, profile=profile, model=replay.model)
    run_on_backend(config, replay, out, as_json=as_json, quiet=quiet, validates=validate)


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
    from orbitflow.cli.validate import print_validation, refuse_broken, validate_folder
    from orbitflow.config import to_toml
    from orbitflow.machine.profile import to_json
    from orbitflow.results.run_files import environment, resolved, summary
    from orbitflow.results.run_folder import RunFolder

    talks = not (quiet or as_json)

    def say(line: str) -> None:
        if talks:
            print(line, file=sys.stderr)

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
    from orbitflow.backend.serve import Backend, RandomPrompts
    from orbitflow.cli.backend_parts import believed_profile, load_parts, refuse_too_long
    from orbitflow.scenario import build_scenario, trace_of
    from orbitflow.traces import scaled

    names = _servable(config, replay, say)
    raw = trace_of(config)
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
    from orbitflow.backend.executor import refuse_unserved
    from orbitflow.errors import UserError
    from orbitflow.policy.registry import expand, make_policy

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
    from orbitflow.backend.serve import serve_policy
    from orbitflow.cli.progress import RequestProgress

    scenario = run.scenario
    reports: dict[str, PolicyReport] = {}
    wall_s: dict[str, float] = {}
    with RequestProgress(len(scenario.trace), shown=shown) as progress:
        for name in scenario.policies:
            _warm_up(run)
            began_s = time.perf_counter()
            served = serve_policy(scenario, name, run.backend, folder, progress.counter(name))
            if not served.is_complete:
                raise KeyboardInterrupt
            reports[name] = served.report
            wall_s[name] = time.perf_counter() - began_s
    return reports, wall_s


def _warm_up(run: _Run) -> None:
    """Serve a little that nobody measures: the first passes of a process load kernels."""
    from orbitflow.calibrate.bench import Bench
    from orbitflow.request import Request

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
    import torch

    return {
        "torch": torch.__version__,
        "device": machine.name,
        "torch_threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
