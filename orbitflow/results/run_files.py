"""What a run leaves as a whole: `summary.json`, `config.toml` and `env.json`, made and read back.

Formats: `docs/formats.md`. The same inputs and seed give the same bytes; wall-clock figures go to
`env.json` only.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from orbitflow import __version__
from orbitflow.bound.bound import Bound
from orbitflow.config import RunConfig
from orbitflow.errors import UserError
from orbitflow.formats.reading import read_json, read_toml
from orbitflow.formats.records import Natural, Positive, PositiveReal
from orbitflow.results.bound_share import bound_figures
from orbitflow.results.summary import SCHEMA_VERSION, PolicyReport
from orbitflow.scenario import Scenario


def summary(
    scenario: Scenario, reports: Mapping[str, PolicyReport], bound: Bound | None = None
) -> dict[str, object]:
    """The content of `summary.json`, with the upper bound if there is one."""
    load, slo, profile, trace = scenario.load, scenario.slo, scenario.profile, scenario.trace
    return {
        "schema_version": SCHEMA_VERSION,
        "orbitflow_version": __version__,
        "trace": {
            "name": trace.name,
            "source": trace.source,
            "format": trace.format,
            "requests": len(trace),
            "prompt_tokens": int(trace.prompt_tokens.sum()),
            "output_tokens": int(trace.output_tokens.sum()),
            "span_s": load.span_s,
            "rate_scale": scenario.rate_scale,
            "offered_load": {
                "prefill": load.prefill,
                "decode": load.decode,
                "kv_mean": load.kv_mean,
                "kv_peak": load.kv_peak,
                "kv_time_over": load.kv_time_over,
            },
        },
        "slo": {
            "tau_s": slo.tbt_limit_s,
            "origin": slo.origin,
            "ttft_s": slo.ttft_s,
            "ttft_scale": slo.ttft_scale,
        },
        "profile": {
            "name": profile.name,
            "model": profile.model.name,
            "device": profile.provenance.device,
            "method": profile.provenance.method,
            "simplified": list(profile.simplified),
            "layers": scenario.limits.layers,
            "token_layer_bytes": profile.model.kv_bytes_per_token_per_layer,
            "kv_capacity_tokens": scenario.limits.capacity_tokens,
            "host_pages": scenario.limits.host_pages,
            "page_tokens": scenario.limits.page_tokens,
            "max_batch": scenario.max_batch,
        },
        **({} if bound is None else {"bound": bound_figures(bound)}),
        "policies": {name: report.figures for name, report in reports.items()},
    }


def resolved(scenario: Scenario) -> dict[str, object]:
    """The resolved values of the options, for `config.toml`."""
    return {
        "policies": tuple(choice.reference for choice in scenario.chosen),
        "trace_source": scenario.trace.source,
        "profile": scenario.profile.name,
        "model": scenario.profile.model.name,
        "rate_scale": scenario.rate_scale,
        "max_batch": scenario.max_batch or 0,
        "kv_capacity_tokens": scenario.limits.capacity_tokens,
        "slo_tbt_s": scenario.slo.tbt_limit_s,
    }


def environment(command: list[str], started: str) -> dict[str, object]:
    """Command, versions and machine, for the start of `env.json`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "orbitflow_version": __version__,
        "command": command,
        "started": started,
        "python": sys.version.split()[0],
        "numpy": version("numpy"),
        "simpy": version("simpy"),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
    }


def read_document(path: Path, schema_version: int = SCHEMA_VERSION) -> Mapping[str, Any]:
    """Read a JSON object that has a `schema_version`. Raise a UserError if it cannot be read, or
    has another one.
    """
    document = read_json(path, "run it again")
    if not isinstance(document, dict) or "schema_version" not in document:
        raise UserError(f"{path} is no document of orbitflow: run it again")
    found = document["schema_version"]
    if found != schema_version:
        writer = document.get("orbitflow_version")
        by = "" if writer is None else f", written by orbitflow {writer}"
        raise UserError(
            f"{path} has schema_version {found}{by}; orbitflow {__version__} reads "
            f"{schema_version}: run it again"
        )
    return document


@dataclass(frozen=True, slots=True)
class RecordedConfig:
    """The options of a run, and the values that they were resolved to."""

    config: RunConfig
    policies: tuple[str, ...]
    kv_capacity_tokens: int
    max_batch: int | None
    tbt_limit_s: float
    is_backend: bool


def read_config_file(path: Path) -> RecordedConfig:
    """Read a `config.toml`. Raise a UserError if it is none, or lacks something."""
    document = read_toml(path, "name a run's folder")
    try:
        resolved = msgspec.convert(document["resolved"], _Resolved)
        config = RunConfig(**_options(path, document))
    except UserError as refusal:
        raise UserError(f"{path}: {refusal}") from None
    except (KeyError, TypeError, ValueError) as failure:
        raise UserError(f"{path} is no run's configuration: {failure!r}") from None
    return RecordedConfig(
        config,
        resolved.policies,
        resolved.kv_capacity_tokens,
        resolved.max_batch or None,
        resolved.slo_tbt_s,
        "backend" in document,
    )


class _Resolved(msgspec.Struct):
    """What is read of the table `[resolved]`."""

    policies: tuple[str, ...]
    kv_capacity_tokens: Positive
    max_batch: Natural
    slo_tbt_s: PositiveReal


def _options(path: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run. One that this version lacks was at its default, unless it is a switch
    that is on.
    """
    hints = get_type_hints(RunConfig)
    names = {field.name for field in fields(RunConfig)}
    found = {}
    for name, value in document.items():
        try:
            if name in names:
                found[name] = msgspec.convert(value, hints[name])
            elif value is True:
                raise ValueError
        except ValueError:
            raise UserError(
                f"written by orbitflow {_writer(path.parent)}, has {name} = {repr(value)[:60]}, "
                f"which orbitflow {__version__} does not know: run it again"
            ) from None
    return found


def _writer(folder: Path) -> str:
    """The version of orbitflow that wrote a run's folder."""
    try:
        return str(read_json(folder / "env.json", "")["orbitflow_version"])
    except (UserError, KeyError, TypeError):
        return "of an unknown version"
