"""The folders that a report is about, of runs and of studies, checked before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec

from orbitflow.errors import UserError
from orbitflow.formats.records import Real
from orbitflow.report.read_files import PolicyFiles
from orbitflow.report.read_studies import ReportStudy, is_study, read_study
from orbitflow.results.run_files import read_document
from orbitflow.results.run_folder import INCOMPLETE
from orbitflow.results.typed_summary import check_types
from orbitflow.units import format_count, format_seconds

_PROFILE_KEYS = ("name", "layers", "token_layer_bytes", "kv_capacity_tokens", "page_tokens")


class SloKey(NamedTuple):
    """The limits that requests were judged by. Figures under different limits are not compared."""

    tbt_limit_s: float
    ttft_s: float
    ttft_scale: float


@dataclass(frozen=True, slots=True)
class PolicyRun:
    """One policy of a run: its figures, and its files."""

    name: str
    figures: Mapping[str, Any]
    files: PolicyFiles


@dataclass(frozen=True, slots=True)
class ReportRun:
    """A run's folder. `label` tells it from the others; `unfinished` says why it did not end."""

    path: Path
    label: str
    summary: Mapping[str, Any]
    policies: tuple[PolicyRun, ...]
    validation: Mapping[str, Any] | None
    unfinished: str | None

    @property
    def slo(self) -> SloKey:
        """The limits that its requests were judged by."""
        slo = self.summary["slo"]
        return SloKey(slo["tau_s"], slo["ttft_s"], slo["ttft_scale"])

    @property
    def workload(self) -> tuple[object, ...]:
        """Trace, rate and machine: only policies with equal ones are ranked."""
        trace, profile = self.summary["trace"], self.summary["profile"]
        return (
            *(trace[k] for k in ("name", "requests", "prompt_tokens", "output_tokens")),
            *(trace["rate_scale"], profile["name"], profile["kv_capacity_tokens"]),
            *(profile["max_batch"], "backend" in self.summary),
        )

    @property
    def page_bytes(self) -> int:
        """Bytes of KV in a page, which is one layer of one request."""
        profile = self.summary["profile"]
        return int(profile["token_layer_bytes"] * profile["page_tokens"])

    @property
    def description(self) -> str:
        """Trace, machine and SLO in one sentence."""
        trace, profile, slo = (self.summary[key] for key in ("trace", "profile", "slo"))
        batch = profile.get("max_batch")
        span_s = float(f"{trace['span_s']:.2g}")  # seeds that shake arrivals hardly change it
        how = "simulated"
        if (backend := self.summary.get("backend")) is not None:
            how = f"measured on {backend['device']}"
        return (
            f"{trace['name']} ({format_count(trace['requests'])} requests over about "
            f"{format_seconds(span_s)}, rate scale {trace['rate_scale']:g}) on "
            f"{profile['name']}, {profile['model']}, {how}; KV capacity "
            f"{format_count(profile['kv_capacity_tokens'])} tokens, batch "
            f"{'without limit' if batch is None else f'up to {batch}'}; SLO: {slo['origin']}."
        )


class ReportInputs(NamedTuple):
    """All runs and studies of a report, in the order in which they were named."""

    runs: tuple[ReportRun, ...]
    studies: tuple[ReportStudy, ...]


def read_inputs(paths: Sequence[Path]) -> ReportInputs:
    """Read all folders. Raise a UserError for one that is neither a run nor a study."""
    once = list({path.resolve(): path for path in reversed(paths)}.values())[::-1]
    labels = _labels(once)
    runs, studies = [], []
    for path, label in zip(once, labels, strict=True):
        if not path.is_dir():
            what = "is no folder" if path.exists() else "does not exist"
            raise UserError(f"{path} {what}: name folders of `sim`, `run` or `study`")
        if is_study(path):
            studies.append(read_study(path, label))
        else:
            runs.append(_read_run(path, label))
    return ReportInputs(tuple(runs), tuple(studies))


def _labels(paths: Sequence[Path]) -> list[str]:
    """Folder names, with as many parents as it takes to tell them apart."""
    parts = [path.resolve().parts for path in paths]
    depth = 1
    while len({part[-depth:] for part in parts}) < len(parts):
        depth += 1
    return ["/".join(part[-depth:]) for part in parts]


def _read_run(path: Path, label: str) -> ReportRun:
    mark = path / INCOMPLETE
    unfinished = _text(mark) if mark.exists() else None
    if not (path / "summary.json").exists():
        if unfinished is not None:
            raise UserError(
                f"{path} is of a run that did not finish and has no figures yet: run it again"
            )
        raise UserError(
            f"{path} is neither a run nor a study: it has no summary.json and no study.json; "
            "name folders of `sim`, `run` or `study`"
        )
    summary = read_document(path / "summary.json")
    try:
        missing = [key for key in _PROFILE_KEYS if key not in summary["profile"]]
        if missing:
            raise UserError(
                f"{path}/summary.json lacks profile.{missing[0]}: orbitflow "
                f"{summary.get('orbitflow_version')} wrote it; run it again"
            )
        check_types(summary)
        policies = tuple(
            PolicyRun(name, dict(figures), PolicyFiles(path / name))
            for name, figures in summary["policies"].items()
        )
        for policy in policies if unfinished is None else ():
            policy.files.check_requests(int(policy.figures["requests"]))
        if not policies:
            raise UserError(f"{path}/summary.json has no policy: run it again")
        run = ReportRun(path, label, summary, policies, _validation(path), unfinished)
        _ = (run.slo, run.workload, run.page_bytes, run.description)  # everything is there
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}/summary.json is no run's summary ({error!r})") from None
    return run


def _validation(path: Path) -> Mapping[str, Any] | None:
    file = path / "validation.json"
    if not file.exists():
        return None
    policies = read_document(file).get("policies")
    try:
        msgspec.convert(policies, dict[str, _Validated])
    except ValueError as failure:
        raise UserError(f"{file} is no validation ({failure}): validate the run again") from None
    return cast(Mapping[str, Any], policies)


class _Figure(msgspec.Struct):
    """One figure of `validation.json`."""

    name: str
    measured: Real | None
    simulated: Real | None
    error: Real | None
    is_share: bool


class _Validated(msgspec.Struct):
    """What a report shows of one policy's validation."""

    figures: list[_Figure]


def _text(path: Path) -> str:
    try:
        return " ".join(path.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return "This run has not finished."
