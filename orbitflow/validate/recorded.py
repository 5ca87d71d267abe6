"""A finished backend run, read back from its folder as the scenario that it was, to the last bit.

Arrivals and lengths come from the journal, which is what the server was asked: the trace file may
have moved or changed. Limits are those that the run resolved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from orbitflow.engine.journal import Entry, SubmitCall
from orbitflow.engine.journal_lines import read_journal
from orbitflow.errors import UserError
from orbitflow.machine.profile import load
from orbitflow.policy.registry import label_of
from orbitflow.results.run_files import read_config_file, read_document
from orbitflow.results.run_folder import INCOMPLETE
from orbitflow.scenario import Scenario, build_scenario
from orbitflow.slo import Slo
from orbitflow.traces.trace import Trace

JOURNAL, DECISIONS, PASSES = "journal.jsonl", "decisions.jsonl", "passes.npz"


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run's folder and what was served in it; `measured` has the policies' figures."""

    path: Path
    scenario: Scenario
    measured: Mapping[str, Mapping[str, Any]]

    def entries(self, policy: str) -> Iterator[Entry]:
        """A policy's journal."""
        return read_journal(self.path / policy / JOURNAL)


def read_run(path: Path) -> RecordedRun:
    """Read a run's folder. Raise a UserError if it holds no finished backend run."""
    if not path.is_dir():
        raise UserError(f"{path} is no folder: name one that `orbitflow run` has written")
    if (path / INCOMPLETE).exists():
        raise UserError(f"{path} is of a run that did not finish: validate a whole one")
    recorded = read_config_file(path / "config.toml")
    if not recorded.is_backend:
        raise UserError(f"{path} was simulated, not run: there is nothing to validate")
    labels = tuple(map(label_of, recorded.policies))
    figures = _figures(path, labels)
    config = replace(
        recorded.config,
        policies=recorded.policies,
        rate_scale=1.0,
        context_scale=1.0,
        output_scale=1.0,
        num_requests=None,
        arrival_jitter=0.0,
        perturb=None,
        gpu_memory_bytes=None,
        kv_capacity_tokens=recorded.kv_capacity_tokens,
        max_batch=recorded.max_batch or 0,
    )
    slo = Slo(recorded.tbt_limit_s, config.slo_ttft_s, config.slo_ttft_scale, "as recorded")
    trace = _trace(config.trace, path / labels[0] / JOURNAL)
    profile = load(path / "profile.json")
    scenario = build_scenario(config, slo=slo, raw=trace, profile=profile)
    return RecordedRun(path, scenario, figures)


def _figures(path: Path, policies: tuple[str, ...]) -> Mapping[str, Any]:
    """The figures of all policies, from `summary.json`."""
    file = path / "summary.json"
    figures = read_document(file).get("policies")
    if not isinstance(figures, dict):
        raise UserError(f"{file} is no run's summary: it has no policies")
    if missing := [name for name in policies if name not in figures]:
        raise UserError(f"{file} lacks the policy {missing[0]}: run again")
    return figures


def _trace(name: str, path: Path) -> Trace:
    """The trace that was submitted."""
    entries = read_journal(path)
    requests = [entry.request for entry in entries if isinstance(entry, SubmitCall)]
    if not requests:
        raise UserError(f"{path} has no requests: run again")
    try:
        return Trace(
            name=name,
            source="the run's journal",
            format="journal",
            arrival=np.array([r.arrival_s for r in requests]),
            arrival_unit="s",
            prompt_tokens=np.array([r.prompt_tokens for r in requests]),
            output_tokens=np.array([r.output_tokens for r in requests]),
            slo_tbt_s=_limits([r.slo_tbt_s for r in requests]),
            slo_ttft_s=_limits([r.slo_ttft_s for r in requests]),
        )
    except UserError as refusal:
        raise UserError(f"{path}: {refusal}") from None


def _limits(values: list[float | None]) -> Any:
    return np.array([np.nan if value is None else value for value in values])
