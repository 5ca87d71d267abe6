"""The longest context that a configuration allows, as vLLM derives it.

    default, llama3, longrope, su    max_position_embeddings
    yarn                             original_max_position_embeddings · factor
    linear, dynamic, any other       max_position_embeddings · factor

A file that stretches its rotary embedding by YaRN states the length it was trained at; without an
original length that is max_position_embeddings (as transformers reads it). Without a factor nothing
is stretched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from orbitflow.errors import ProfileError

_STATED = ("default", "llama3", "longrope", "su")  # max_position_embeddings is the longest already


def longest_context_tokens(name: str, fields: Mapping[str, Any], stated: int | None) -> int | None:
    """Stretch the `stated` max_position_embeddings as the rope says; None stays None.

    Raise a ProfileError for a factor or an original length that is no number above zero.
    """
    told = rope_fields(name, fields)
    kind = str(told.get("rope_type") or told.get("type") or "default")
    if kind in _STATED or told.get("factor") is None:
        return stated
    original = told.get("original_max_position_embeddings") if kind == "yarn" else None
    if original is None:
        original = stated
    if original is None:
        return None
    original = _positive(name, "original_max_position_embeddings", original)
    return max(1, int(original * _positive(name, "factor", told["factor"])))


def rope_fields(name: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `rope_parameters`, which newer files have, or `rope_scaling`.

    Raise a ProfileError if it is no object.
    """
    told = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
    if not isinstance(told, dict):
        raise ProfileError(f"{name}: rope_scaling is {told!r:.60}: it must be an object")
    return told


def _positive(name: str, key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ProfileError(f"{name}: {key} is {value!r:.60}: it must be a number above zero")
    if not 0 < value <= 2**31 or not math.isfinite(value):
        raise ProfileError(f"{name}: {key} is {value!r:.60}: it must be above 0 and at most 2^31")
    return float(value)
