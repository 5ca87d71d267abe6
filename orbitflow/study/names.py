"""The words that the options of a study take. Nothing is imported here, for `--help` to be fast."""

from __future__ import annotations

from enum import StrEnum


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
