"""`summary.json` with types: every figure an attribute, in the units that its name says.

Shares are from 0 to 1 and None where there was nothing to measure. The keys are explained in
`docs/formats.md`. `check_types` holds a document to the types, whatever it lacks; `from_json`
refuses a document that lacks a key as well.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from orbitflow.bound.bound import Bound
from orbitflow.formats.records import Layers, Natural, Positive, Real
from orbitflow.results.distribution import Quantiles


@dataclass(frozen=True, slots=True)
class LoadSummary:
    """Offered load: shares of one server, KV relative to its capacity."""

    prefill: float
    decode: float
    kv_mean: float
    kv_peak: float
    kv_time_over: float


@dataclass(frozen=True, slots=True)
class WorkloadSummary:
    """The workload as it was run, scaled."""

    name: str
    source: str
    format: str
    requests: int
    prompt_tokens: int
    output_tokens: int
    span_s: float
    rate_scale: float
    offered_load: LoadSummary


@dataclass(frozen=True, slots=True)
class SloSummary:
    """The limits: `tbt_limit_s` between tokens, `ttft_s` plus `ttft_scale` isolated prefills to the
    first.
    """

    tbt_limit_s: float
    origin: str
    ttft_s: float
    ttft_scale: float


@dataclass(frozen=True, slots=True)
class MachineSummary:
    """The machine, its model, and what fits."""

    name: str
    model: str
    device: str
    method: str
    simplified: tuple[str, ...]
    layers: Layers
    token_layer_bytes: Positive
    kv_capacity_tokens: int
    host_pages: int | None
    page_tokens: Positive
    max_batch: int | None


@dataclass(frozen=True, slots=True)
class LengthAttainment:
    """Attainments of the requests of some prompt lengths."""

    requests: int
    tpot_attainment: float | None
    ttft_attainment: float | None
    slo_attainment: float | None


@dataclass(frozen=True, slots=True)
class LinkSummary:
    """What crossed the link."""

    h2d_bytes: int
    d2h_bytes: int
    busy_share: float | None
    hidden_share: float | None
    stall_s: float
    resident_share: float | None
    moves: int


@dataclass(frozen=True, slots=True)
class PlannerSummary:
    """Calls of the planner; the last six are of policies that plan only."""

    calls: int
    p50_ms: float | None
    p99_ms: float | None
    runtime_share: float | None
    searches: int | None = None
    proven: int | None = None
    kept: int | None = None
    improved: int | None = None
    drifts: int | None = None
    solver_troubles: int | None = None


@dataclass(frozen=True, slots=True)
class PolicySummary:
    """What one policy declares, and what its run came to."""

    admission: str
    output_lengths: str
    deposit: bool
    lossy: bool
    recomputes: bool
    cpu_attends: bool
    requests: int
    completed: int
    failed: int
    output_tokens: int
    makespan_s: float
    throughput_tokens_per_s: float | None
    goodput_rps: float | None
    timely_share: float | None
    tbt_attainment: float | None
    tpot_attainment: float | None
    ttft_attainment: float | None
    slo_attainment: float | None
    ttft_s: Quantiles
    tpot_s: Quantiles
    tbt_s: Quantiles
    e2el_s: Quantiles
    link: LinkSummary
    planner: PlannerSummary
    paused_s: float
    dropped: int
    by_length: Mapping[str, LengthAttainment]
    share_of_bound: Mapping[str, float | None] | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """All of a run; `bound` where it was asked for."""

    schema_version: int
    orbitflow_version: str
    trace: WorkloadSummary
    slo: SloSummary
    profile: MachineSummary
    policies: Mapping[str, PolicySummary]
    bound: Bound | None = None


def check_types(content: Mapping[str, object]) -> None:
    """Raise a ValueError that names the first key with a value of another type, or out of range."""
    _check(Summary, content, "")


def _check(hint: Any, value: Any, path: str) -> None:
    if value is None and NoneType in get_args(hint):
        return
    if NoneType in get_args(hint):
        (hint,) = (argument for argument in get_args(hint) if argument is not NoneType)
    is_table = get_origin(hint) is Mapping
    if not (is_table or is_dataclass(hint) or hint is Quantiles):
        _check_leaf(hint, value, path)
        return
    if not isinstance(value, dict):
        raise ValueError(f"{path} is no object")
    hints = dict.fromkeys(value, get_args(hint)[1]) if is_table else _hints(hint)
    inside = f"{path}." if path else ""
    for name, inner in hints.items():
        if (key := name if is_table else _key(name)) in value:
            _check(inner, value[key], inside + key)


def _check_leaf(hint: Any, value: Any, path: str) -> None:
    try:
        msgspec.convert(value, _RANGES.get(hint, hint))
    except ValueError as failure:
        raise ValueError(f"{path}: {failure}") from None


def from_json(content: Mapping[str, object]) -> Summary:
    """The summary of a document. Raise a KeyError if it lacks a key, a ValueError as above."""
    check_types(content)
    made = _made(Summary, content)
    assert isinstance(made, Summary)
    return made


def _made(kind: Any, content: Any) -> Any:
    hints = _hints(kind)
    names = list(hints)
    if is_dataclass(kind):
        optional = {field.name for field in fields(kind) if field.default is not MISSING}
        names = [name for name in names if _key(name) in content or name not in optional]
    return kind(**{name: _value(hints[name], content[_key(name)]) for name in names})


def _key(name: str) -> str:
    """How the file names it: its keys are those of the first version."""
    return "tau_s" if name == "tbt_limit_s" else name


def _value(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    arguments = get_args(hint)
    if NoneType in arguments:
        (hint,) = (argument for argument in arguments if argument is not NoneType)
        arguments = get_args(hint)
    if get_origin(hint) is Mapping:
        return {name: _value(arguments[1], item) for name, item in value.items()}
    if get_origin(hint) is tuple:
        return tuple(value)
    return _made(hint, value) if is_dataclass(hint) or hint is Quantiles else value


_RANGES: Mapping[Any, Any] = {int: Natural, float: Real}


@cache
def _hints(kind: Hashable) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)
