"""Reads a run folder's `config.toml` back: the options, and what they were resolved to."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, get_type_hints

from orbitflow.config import RunConfig
from orbitflow.errors import UserError


@dataclass(frozen=True, slots=True)
class RecordedConfig:
    """What a run was asked for, and what that came to."""

    config: RunConfig
    policies: tuple[str, ...]
    kv_capacity_tokens: int
    max_batch: int | None
    tau_s: float
    is_backend: bool


def read_config_file(path: Path) -> RecordedConfig:
    """Read a `config.toml`. Raise a UserError if it is none, or lacks something."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as failure:
        raise UserError(f"cannot read {path} ({failure.strerror}): name a run's folder") from None
    except ValueError as failure:
        raise UserError(f"{path} is not TOML: {failure}") from None
    try:
        resolved = document["resolved"]
        return RecordedConfig(
            RunConfig(**_options(document)),
            tuple(resolved["policies"]),
            int(resolved["kv_capacity_tokens"]),
            int(resolved["max_batch"]) or None,
            float(resolved["slo_tbt_s"]),
            "backend" in document,
        )
    except (KeyError, TypeError, ValueError) as failure:
        raise UserError(f"{path} is no run's configuration: {failure!r}") from None


def _options(document: dict[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(RunConfig)
    names = [field.name for field in fields(RunConfig) if field.name in document]
    return {name: _typed(hints[name], document[name]) for name in names}


def _typed(hint: Any, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return hint(value) if isinstance(hint, type) and issubclass(hint, StrEnum) else value
