"""`summary.json` and `config.toml`: what was run, on what, under which limits, and what came of it.

Deterministic: the same inputs and seed give the same bytes; wall-clock figures go to `env.json`
only.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version

from orbitflow import __version__
from orbitflow.bound.bound import Bound
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
            "tau_s": slo.tau_s,
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
    """What the options came to, for `config.toml`."""
    return {
        "policies": tuple(choice.reference for choice in scenario.chosen),
        "trace_source": scenario.trace.source,
        "profile": scenario.profile.name,
        "model": scenario.profile.model.name,
        "rate_scale": scenario.rate_scale,
        "max_batch": scenario.max_batch or 0,
        "kv_capacity_tokens": scenario.limits.capacity_tokens,
        "slo_tbt_s": scenario.slo.tau_s,
    }


def environment(command: list[str], started: str) -> dict[str, object]:
    """What ran where; the start of `env.json`."""
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
