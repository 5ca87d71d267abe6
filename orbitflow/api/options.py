"""Keyword options to a configuration, and what a caller may give for a trace, a profile, a policy.

An option is a field of `RunConfig`, with its name and its default. Numbers are in the unit that the
name says; texts may have another one: `slo_tbt_s=0.1` is `slo_tbt_s="100ms"`, and
`gpu_memory_bytes=24 * 2**30` is `"24GiB"`.
"""

from __future__ import annotations

import copy
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypedDict, get_type_hints

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.config import (
    DeliveryPace,
    DepositRule,
    Fidelity,
    LengthsKnown,
    PipelineForm,
    RunConfig,
    SolverName,
    Victim,
)
from orbitflow.engine.policy import Policy
from orbitflow.errors import PolicyNameError, ProfileError, TraceError, UserError, nearest, one_line
from orbitflow.machine.profile import Profile
from orbitflow.options import refuse_contradictions
from orbitflow.policy.registry import Make, guest
from orbitflow.request import Request
from orbitflow.study.keys import kind_of, read_value
from orbitflow.traces.trace import Trace, on_grid
from orbitflow.units import TimeUnit

_A_TRACE = "give a name, a path, a Trace, or a sequence of orbitflow.Request"

PathLike: TypeAlias = str | os.PathLike[str]
AnyPolicy: TypeAlias = str | Policy | type[Policy]
AnyTrace: TypeAlias = PathLike | Trace | Sequence[Request]


class Options(TypedDict, total=False):
    """Options of a run: the fields of `RunConfig`, which has their defaults."""

    model: str | None
    tp: int | None
    gpu_memory_bytes: int | str | None
    kv_capacity_tokens: int | None
    host_memory_bytes: int | str | None
    ring_extra: bool
    max_batch: int | None
    slo_scale: float
    slo_tbt_s: float | str | None
    slo_ttft_s: float | str
    slo_ttft_scale: float
    rate_scale: float | None
    context_scale: float
    output_scale: float
    time_unit: TimeUnit | str | None
    columns: str | None
    num_requests: int | None
    arrival_jitter: float
    link_scale: float
    compute_scale: float
    prefill_chunk: int
    pipeline: PipelineForm | str
    fidelity: Fidelity | str
    timeline: bool
    deposit: DepositRule | str
    pace: DeliveryPace | str
    no_refine: bool
    no_deposit: bool
    no_pause: bool
    no_gate: bool
    no_spread: bool
    no_preload: bool
    victim: Victim | str
    lengths: LengthsKnown | str
    token_value: float
    lost_weight: float
    late_load: float
    solver: SolverName | str
    perturb: str | None
    seed: int


class AskedPolicies(NamedTuple):
    """Policies by name or reference; `guests` has those that were given as objects or classes."""

    names: tuple[str, ...]
    guests: Mapping[str, Policy | type[Policy]]

    def makers(self) -> dict[str, Make]:
        """How each guest is made afresh: an object is copied, so that it stays as it was."""
        return {label: _maker(given) for label, given in self.guests.items()}


class AskedTrace(NamedTuple):
    """A trace by name or path, or one that is here already."""

    name: str
    raw: Trace | None


def config_of(
    trace: str, policies: tuple[str, ...], profile: str | None, options: Mapping[str, Any]
) -> RunConfig:
    """The configuration of these options. Raise a UserError for a value that is none and for two
    that contradict each other, a TypeError for an option that is not there.
    """
    known = [field.name for field in fields(RunConfig)]
    for name in options:
        if name not in known:
            raise TypeError(f"there is no option {name!r}: {nearest(name, known)}")
    values: dict[str, Any] = {name: read_option(name, value) for name, value in options.items()}
    refuse_contradictions([n for n, v in values.items() if v is not None], lambda field, _: field)
    return RunConfig(trace=trace, policies=policies, profile=profile, **values)


def policies_of(given: AnyPolicy | Sequence[AnyPolicy]) -> AskedPolicies:
    """What a caller asks for. Raise a PolicyNameError for what is no policy, or two of one name."""
    items: list[Any] = [given]
    if isinstance(given, Iterable) and not isinstance(given, str | Policy | type):
        items = [*given]
    names: list[str] = []
    guests: dict[str, Policy | type[Policy]] = {}
    for item in items:
        if isinstance(item, str):
            names.append(item)
            continue
        is_class = isinstance(item, type) and issubclass(item, Policy)
        if not is_class and not isinstance(item, Policy):
            raise PolicyNameError(
                f"{item!r} is no policy: give a name, 'path/to/file.py:Class', a Policy or a "
                "subclass of it"
            )
        label = guest(item, _maker(item))
        if label in guests:
            raise PolicyNameError(
                f"two policies are called {label!r}: give each object a `name` of its own"
            )
        guests[label] = item
        names.append(label)
    return AskedPolicies(tuple(names), guests)


def trace_of(given: AnyTrace) -> AskedTrace:
    """What a caller gives for a trace. Raise a TraceError for what is none."""
    if isinstance(given, Trace):
        return AskedTrace(given.name, given)
    if isinstance(given, str | os.PathLike):
        return AskedTrace(os.fspath(given), None)
    if not isinstance(given, Iterable):
        raise TraceError(f"trace is {given!r}: {_A_TRACE}")
    made = _trace_of(given)
    return AskedTrace(made.name, made)


def profile_of(given: PathLike | Profile | None) -> tuple[str | None, Profile | None]:
    """The name or path of a profile, and the profile where it is here already. Raise a
    ProfileError for what is none.
    """
    if isinstance(given, Profile):
        return given.name, given
    if given is None or isinstance(given, str | os.PathLike):
        return (None if given is None else os.fspath(given)), None
    raise ProfileError(f"profile is {given!r}: give a name, a path or a Profile")


def _maker(given: Policy | type[Policy]) -> Make:
    if isinstance(given, type):
        return given
    try:
        copy.deepcopy(given)
    except Exception as error:
        said = one_line(error)
        raise PolicyNameError(
            f"a policy of {type(given).__qualname__} cannot be copied for a run ({said}): give the "
            "class"
        ) from None
    return partial(copy.deepcopy, given)


def _trace_of(requests: Iterable[Request]) -> Trace:
    """Requests as a trace: sorted by arrival, counted from the first, numbered anew."""
    listed = list(requests)
    for number, request in enumerate(listed):
        if not isinstance(request, Request):
            raise TraceError(f"trace[{number}] is {request!r:.80}: {_A_TRACE}")
    listed.sort(key=lambda request: request.arrival_s)
    arrival = np.array([request.arrival_s for request in listed], dtype=np.float64)
    return Trace(
        name="requests",
        source="given in Python",
        format="requests",
        arrival=on_grid(arrival - arrival[:1]),
        arrival_unit="s",
        prompt_tokens=np.array(_counts("prompt_tokens", listed), dtype=np.int64),
        output_tokens=np.array(_counts("output_tokens", listed), dtype=np.int64),
        slo_tbt_s=_limits(r.slo_tbt_s for r in listed),
        slo_ttft_s=_limits(r.slo_ttft_s for r in listed),
    )


def _counts(name: str, requests: Iterable[Request]) -> list[int]:
    return [whole(f"{name} of a request", getattr(request, name)) for request in requests]


def _limits(values: Iterable[float | None]) -> FloatArray:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def read_option(name: str, value: Any) -> object:
    """A value as the field of that name wants it, to the type: files say 2.0 where 2 was given.
    Raise a UserError for one that it cannot have.
    """
    hint = get_type_hints(RunConfig)[name]
    if value is None:
        if type(None) not in getattr(hint, "__args__", ()):
            raise UserError(f"{name} is None: leave it out")
        return None
    if name == "timeline":
        return _flag(name, value)
    if isinstance(value, str):
        value = read_value(name, value, name)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint(str(read_value(name, str(value), name)))
    kind = kind_of(name)
    if kind is bool:
        return _flag(name, value)
    if kind is str:
        return str(value)
    return whole(name, value) if kind is int else _number(name, value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise UserError(f"{name} is {value!r}: write True or False")
    return bool(value)


def whole(name: str, value: Any) -> int:
    """A whole number. Raise a UserError for a value that is none."""
    _refuse_bool(name, value)
    if isinstance(value, float) and value.is_integer():  # such as 24e9
        return int(value)
    try:
        return operator.index(value)
    except TypeError:
        raise UserError(f"{name} is {value!r}: write a whole number") from None


def _number(name: str, value: Any) -> float:
    _refuse_bool(name, value)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UserError(f"{name} is {value!r}: write a number") from None


def _refuse_bool(name: str, value: Any) -> None:
    if isinstance(value, bool | np.bool_):
        raise UserError(f"{name} is {value!r}: write a number")
