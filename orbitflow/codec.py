"""Frozen dataclasses to JSON and back, strictly: `encode` gives back what `decode` accepted.

The type hints are the schema. A number must be at least zero, and at most 1e18, unless its hint
says otherwise (`Positive`, `Count`, `Signed`, a `FieldRange`). Every refusal names the key path:
`decode.token_s`.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from orbitflow.errors import ProfileError, UserError, nearest
from orbitflow.files import write_whole
from orbitflow.formats import reading

T = TypeVar("T")

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


_SMALLEST, _LARGEST = 1e-18, 1e18  # beyond, a product or a quotient of few is no float any more


class FieldRange(NamedTuple):
    """Which numbers a field takes, both ends included."""

    least: float
    most: float = _LARGEST

    def __str__(self) -> str:
        kind = "more than zero" if self.least > 0 else "zero or more" if self.least == 0 else ""
        ends = f"from {self.least:g} to {self.most:g}" if self not in _WIDE else ""
        return ", ".join(filter(None, ("a finite number", kind, ends)))


NON_NEGATIVE = FieldRange(0.0)
_WIDE = (NON_NEGATIVE, FieldRange(_SMALLEST), FieldRange(-_LARGEST))
Positive = Annotated[float, FieldRange(_SMALLEST)]
Signed = Annotated[float, FieldRange(-_LARGEST)]
Count = Annotated[int, FieldRange(_SMALLEST)]


def encode(value: object) -> Any:
    """Turn a dataclass, and all that is in it, into what `json` can write."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    return value


def decode(kind: type[T], value: object, path: str = "") -> T:
    """Build a `kind` from parsed JSON. Raise a ProfileError that names the first key it refuses."""
    made = _read(kind, value, path)
    assert isinstance(made, kind)
    return made


def _read(hint: Any, value: object, path: str, allowed: FieldRange = NON_NEGATIVE) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _read(arguments[0], value, path, arguments[1])
    if NoneType in arguments:
        (inner,) = (argument for argument in arguments if argument is not NoneType)
        return None if value is None else _read(inner, value, path)
    if origin is tuple:
        if not isinstance(value, list):
            raise _refusal(path, value, "a list")
        return tuple(_read(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if is_dataclass(hint):
        return _read_object(hint, value, path)
    if hint in (int, float):
        return _read_number(hint, value, path, allowed)
    if type(value) is not hint:
        raise _refusal(path, value, {str: "a text", bool: "true or false"}[hint])
    if isinstance(value, str) and _CONTROL.search(value):
        raise _refusal(path, value, "a text without control characters")
    return value


def _read_number(kind: type, value: object, path: str, allowed: FieldRange) -> float:
    whole = kind is int
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise _refusal(path, value, "a whole number" if whole else "a number")
    if not allowed.least <= value <= allowed.most:  # no range has NaN
        raise _refusal(path, value, str(allowed))
    return value if whole else float(value)


def _read_object(kind: Any, value: object, path: str) -> Any:
    if not isinstance(value, dict):
        raise _refusal(path, value, "an object")
    hints = _hints(kind)
    inside = f"{path}." if path else ""
    if unknown := [key for key in value if key not in hints]:
        key = unknown[0] if len(unknown[0]) <= 60 else unknown[0][:57] + "..."
        raise ProfileError(f"{inside}{key} is not a known key: {nearest(key, hints)}")
    if missing := [inside + key for key in hints if key not in value]:
        raise ProfileError(f"{', '.join(missing)} missing: a file must have every key")
    made = {key: _read(hint, value[key], inside + key) for key, hint in hints.items()}
    try:
        return kind(**made)
    except ValueError as refusal:  # a dataclass refuses values that do not go together
        raise ProfileError(f"{inside}{refusal}") from None


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _refusal(path: str, value: object, wanted: str) -> ProfileError:
    text = json.dumps(value, default=repr)
    shown = text if len(text) <= 40 else text[:37] + "..."
    return ProfileError(f"{path or 'the file'} is {shown}: it must be {wanted}")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Parse a JSON file, whose numbers `decode` judges. Raise a ProfileError if it is none."""
    try:
        return reading.read_json(path, "write it again", has_any_number=True)
    except UserError as failure:
        raise ProfileError(str(failure)) from None


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a file whole or not at all. Raise a ProfileError if it cannot be written."""
    try:
        write_whole(path, text)
    except OSError as failure:
        raise ProfileError(f"cannot write {os.fspath(path)}: {failure.strerror}") from None
