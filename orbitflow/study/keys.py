"""What studies vary: every option of a run by its name, and how its values are read and written.

`slo-tbt`, `slo_tbt` and `slo_tbt_s` are one key. Values are read by the type of the option; sizes
and times take the units of the command line. The module also holds the words that options of a
study take. It imports little, so that `--help` is fast.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from enum import StrEnum
from functools import cache
from types import UnionType
from typing import TypeAlias, get_args, get_origin, get_type_hints

from orbitflow.config import RunConfig, refuse_removed
from orbitflow.errors import UserError, nearest
from orbitflow.units import (
    format_bytes,
    format_count,
    format_seconds,
    parse_bytes,
    parse_seconds,
)

Value: TypeAlias = str | int | float | bool
POLICY = "policy"
_UNITS = ("_bytes", "_s")
_NOT_VARIED = ("policies", "timeline")  # policies are varied one by one; studies keep no timelines


class Sampler(StrEnum):
    """Where the trials of a search come from."""

    RANDOM = "random"
    OPTUNA = "optuna"


class Direction(StrEnum):
    """Which way a figure is better."""

    MAX = "max"
    MIN = "min"


class ExecutorName(StrEnum):
    """Where simulations run."""

    LOCAL = "local"
    RAY = "ray"


def key_of(name: str, option: str = "--grid") -> str:
    """The key that a person means in a value of `option`. Raise a UserError with the nearest names
    for a stranger.
    """
    wanted = normalized(name).lower()
    if (key := _keys().get(wanted)) is None:
        options = {_stem(key) for key in _keys().values()}
        raise UserError(
            f"{option}: no option is called {name.strip()!r}: {nearest(wanted, options)}"
        )
    return key


def is_key(name: str) -> bool:
    """Whether an option of the command line is one that a study can vary."""
    return name in _keys()


def in_order(values: Iterable[Value]) -> list[Value]:
    """Different values of a key, numbers from small to large, then words."""
    return sorted(set(values), key=_order)


def _order(value: Value) -> tuple[bool, float, str]:
    is_text = isinstance(value, str)
    return is_text, 0.0 if is_text else float(value), str(value)


def read_value(key: str, raw: object, option: str | None = None) -> Value:
    """Read one value of a key, from text or from TOML. Raise a UserError that names the option."""
    option = option or f"--grid {key}"
    if isinstance(raw, list | dict | tuple) or raw is None:
        raise UserError(f"{option}: cannot read {raw!r}: write a plain value")
    text = str(raw).lower() if isinstance(raw, bool) else str(raw).strip()
    if not text:
        raise UserError(f"{option}: a value is empty: write {key}=a,b,c without gaps")
    try:
        return _read(key, text)
    except UserError as error:
        raise UserError(f"{option}: {error}") from None


def _read(key: str, text: str) -> Value:
    if key.endswith("_bytes"):
        return parse_bytes(text)
    if key.endswith("_s"):
        return parse_seconds(text)
    kind = _kinds()[key]
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UserError(f"cannot read {text!r}: write true or false")
        return text.lower() == "true"
    if issubclass(kind, StrEnum):
        refuse_removed(key, text)
        allowed = [str(member) for member in kind]
        if text not in allowed:
            raise UserError(f"{text!r} is none of its values: {nearest(text, allowed)}")
        return str(kind(text))
    try:
        return int(text) if kind is int else float(text) if kind is float else text
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise UserError(f"cannot read {text!r}: write {wanted}") from None


def kind_of(key: str) -> type[Value]:
    """What the values of a key are as plain values."""
    kind = _kinds()[key]
    return next(plain for plain in (str, bool, int, float) if issubclass(kind, plain))


def has_kind(key: str, value: Value) -> bool:
    """Whether a plain value is one of a key; a whole number is a number as well."""
    kind = kind_of(key)
    return type(value) is kind or (kind is float and type(value) is int)


def typed(key: str, value: Value) -> object:
    """The value as the field of a configuration wants it."""
    kind = _kinds()[key]
    return kind(str(value)) if issubclass(kind, StrEnum) else value


def key_text(key: str, value: Value | None) -> str:
    """A value of a key for people; the end of the key says its unit.

    >>> key_text("slo_tbt_s", 0.1), key_text("kv_capacity_tokens", 12000), key_text("max_batch", 8)
    ('100 ms', '12,000', '8')
    """
    if value is None or isinstance(value, bool | str):
        return str(value)
    if key.endswith("_bytes"):
        return format_bytes(value)
    if key.endswith("_s"):
        return format_seconds(value)
    if key.endswith("_tokens"):
        return format_count(value)
    return str(value) if isinstance(value, int) else f"{value:g}"


def normalized(name: str) -> str:
    """The name of a key or figure as files write it, from any way that a person writes it.

    >>> normalized(" --slo-tbt")
    'slo_tbt'
    """
    return name.strip().lstrip("-").replace("-", "_")


def _stem(key: str) -> str:
    return next((key.removesuffix(unit) for unit in _UNITS if key.endswith(unit)), key)


@cache
def _keys() -> dict[str, str]:
    keys = {"policies": POLICY, POLICY: POLICY}
    for field in fields(RunConfig):
        if field.name not in _NOT_VARIED:
            keys[field.name] = keys[_stem(field.name)] = field.name
    return keys


@cache
def _kinds() -> dict[str, type]:
    hints = get_type_hints(RunConfig)
    kinds = {name: _kind(hint) for name, hint in hints.items() if name not in _NOT_VARIED}
    return {**kinds, POLICY: str}


def _kind(hint: object) -> type:
    """The type of an option that may be left out."""
    if isinstance(hint, UnionType):
        hint = next(member for member in get_args(hint) if member is not type(None))
    assert isinstance(hint, type), f"{get_origin(hint)} has no values that a grid can name"
    return hint
