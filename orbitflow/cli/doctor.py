"""`orbitflow doctor`: what is here, what is missing, what is broken, and what to do about it.

Every check answers with one finding and never raises.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from orbitflow import __version__
from orbitflow.cli.progress import usable_cpus
from orbitflow.errors import how_to_install, one_line
from orbitflow.units import format_bytes

SCHEMA_VERSION = 1
_PYTHON = (3, 11)
_SELF_TEST_REQUESTS = 50
_SOLVER = "the faster of the planner's solvers; `pip install {}`"
_TORCH = f"`orbitflow run`, `generate` and `calibrate`; {how_to_install('torch')}"
_CACHE = "make it writable, or set ORBITFLOW_CACHE"
_FETCH = "get it with `orbitflow trace fetch azure_conv`, or remove it from the cache"
_REINSTALL = "`pip install --force-reinstall {}`"
_REMEDY = "reinstall orbitflow, and report it if that does not help"
_NEEDED = ("numpy", "scipy", "simpy", "pulp", "typer", "rich")
_OPTIONAL = {
    "highspy": _SOLVER.format("highspy"),
    "torch": _TORCH,
    "safetensors": _TORCH,
    "tokenizers": "text of `orbitflow generate`; {how_to_install('text')}",
    "matplotlib": "`orbitflow calibrate --plot`; {how_to_install('plot')}",
    "altair": "`orbitflow report`; {how_to_install('report')}",
}


class Health(StrEnum):
    """How something is."""

    OK = "ok"
    MISSING = "missing"
    BROKEN = "broken"


class Finding(NamedTuple):
    """One line of the report."""

    name: str
    state: Health
    detail: str
    is_needed: bool = True

    @property
    def is_fatal(self) -> bool:
        """Whether nothing can be trusted as long as it is so."""
        return self.is_needed and self.state is not Health.OK


class Missing(Exception):
    """Something is not there; the message says what it is needed for."""


def doctor_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON.")] = False,
) -> None:
    """Check the installation: versions, traces, profiles, GPU, and a small simulation.

    Exit 1 if something that is needed is broken; what is missing but optional is only said.
    """
    findings = examine()
    print_report(findings, as_json=as_json)
    if any(finding.is_fatal for finding in findings):
        raise typer.Exit(1)


def examine() -> list[Finding]:
    """Make every check."""
    findings = [
        _check("python", _python),
        _check("orbitflow", lambda: __version__),
        *(
            _check(name, partial(_version, name), remedy=_REINSTALL.format(name))
            for name in _NEEDED
        ),
        *(
            _check(
                name, partial(_optional, name, why), is_needed=False, remedy=_REINSTALL.format(name)
            )
            for name, why in _OPTIONAL.items()
        ),
        _check("CPUs", _cpus),
        _check("memory", _memory, is_needed=False),
        _check("GPU", _gpu, is_needed=False),
        _check("cache", _cache, is_needed=False, remedy=_CACHE),
        _check("trace azure_conv", _trace, remedy=_FETCH),
        _check("profiles", _profiles),
        _check("self-test", _self_test),
    ]
    return findings


def print_report(findings: list[Finding], *, as_json: bool) -> None:
    """A line each, or JSON."""
    if as_json:
        lines = [finding._asdict() for finding in findings]
        good = not any(finding.is_fatal for finding in findings)
        document = {"schema_version": SCHEMA_VERSION, "ok": good, "findings": lines}
        print(json.dumps(document, indent=2))
        return
    for name, state, detail, _ in findings:
        print(f"{state:<8} {name:<17} {detail}")


def _check(
    name: str, look: Callable[[], str], *, is_needed: bool = True, remedy: str = _REMEDY
) -> Finding:
    try:
        return Finding(name, Health.OK, look(), is_needed)
    except Missing as missing:
        return Finding(name, Health.MISSING, str(missing), is_needed)
    except Exception as error:
        said = one_line(error)
        return Finding(name, Health.BROKEN, f"{said}; {remedy}", is_needed)


def _python() -> str:
    version = platform.python_version()
    if sys.version_info[:2] < _PYTHON:
        raise Missing(f"{version}; orbitflow needs {'.'.join(map(str, _PYTHON))} or newer")
    return f"{version} at {sys.executable}"


def _version(name: str) -> str:
    """The version of an installed package that can be imported."""
    import importlib.metadata

    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise Missing(f"not installed; `pip install {name}`") from None
    try:
        importlib.import_module(name)
    except Exception as error:
        raise RuntimeError(f"{version} cannot be imported ({error})") from error
    return version


def _optional(name: str, needed_for: str) -> str:
    try:
        return _version(name)
    except Missing:
        raise Missing(f"not installed (needed for {needed_for})") from None


def _cpus() -> str:
    return f"{usable_cpus()} usable of {os.cpu_count() or 1}"


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError):
        raise Missing("the system does not tell how much there is") from None
    return f"{format_bytes(total)}, {format_bytes(free)} free"


def _gpu() -> str:
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError:
        raise Missing("unknown without torch (simulations need none)") from None
    if not torch.cuda.is_available():
        raise Missing("torch sees none (simulations need none)")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ", ".join(names)


def _cache() -> str:
    from orbitflow.traces.public import cache_dir

    folder = cache_dir()
    if not folder.exists():
        raise Missing(f"{folder} is made by `orbitflow trace fetch`")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} may not be written")
    held = sorted(path.name for path in folder.iterdir() if path.is_file())
    return f"{folder}: {', '.join(held) if held else 'empty'}"


def _trace() -> str:
    from orbitflow.traces import resolve

    trace = resolve("azure_conv")
    said = trace.notices[0] if trace.notices else trace.source
    return f"{len(trace):,} requests; {said.removeprefix('azure_conv: ')}"


def _profiles() -> str:
    from orbitflow.machine.catalog import profile_names, resolve_profile

    names = profile_names()
    for name in names:
        try:
            resolve_profile(name)
        except Exception as error:
            raise RuntimeError(f"{name}: {error}") from error
    return f"all {len(names)} built-in ones load"


def _self_test() -> str:
    """Simulate a few requests, outputs included, as `orbitflow sim` does."""
    import tempfile

    from orbitflow.config import RunConfig
    from orbitflow.results.run_folder import RunFolder
    from orbitflow.scenario import build_scenario
    from orbitflow.sim.run import simulate_policy

    began = time.perf_counter()
    requests = "".join(
        f'{{"timestamp": {900 * n}, "input_length": {500 + 137 * n}, "output_length": 40}}\n'
        for n in range(_SELF_TEST_REQUESTS)
    )
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "self-test.jsonl"
        trace.write_text(requests, encoding="utf-8")
        scenario = build_scenario(RunConfig(trace=str(trace), policies=("dynamic",)))
        out = RunFolder(Path(folder) / "run")
        figures = simulate_policy(scenario, "dynamic", out, lambda _: None).figures
    if figures["completed"] != _SELF_TEST_REQUESTS:
        raise RuntimeError(f"{figures['completed']} of {_SELF_TEST_REQUESTS} requests completed")
    took_s = time.perf_counter() - began
    return f"{_SELF_TEST_REQUESTS} requests simulated under dynamic in {took_s:.2f} s"
