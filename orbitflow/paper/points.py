"""A point: one system on one kind of workload and machine under one SLO scale, over seeds.

Its cell in a study's rows is the same for whatever figure asks for it, so that figures share runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.paper.systems import System

from orbitflow.config import RunConfig
from orbitflow.study.grid import Cell
from orbitflow.study.keys import POLICY, typed
from orbitflow.traces.paper_workload import Recipe, paper_name

A5000 = "a5000-llama3-8b-paper"
A6000X4 = "a6000x4-llama3-70b-paper"
_WORKLOAD = ("rate", "cv", "batch", "context", "requests")


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything but the system and the seed: workload, SLO scale and machine."""

    rate: float = 2.0
    cv: float = 1.0
    batch: int = 4
    context: float = 1.0
    requests: int = 52
    slo_scale: float = 1.5
    profile: str = A5000


@dataclass(frozen=True, slots=True)
class Point:
    """One system in one setting."""

    system: System
    setting: Setting

    @property
    def cell(self) -> Cell:
        """Its key in the rows: policy, setting, then the options that differ from the defaults."""
        setting = self.setting
        return Cell(
            (
                (POLICY, self.system.policy),
                *((name, getattr(setting, name)) for name in _WORKLOAD),
                ("slo_scale", setting.slo_scale),
                ("profile", setting.profile),
                *sorted(self.system.options),
            )
        )


def config_of(cell: Cell, seed: int) -> RunConfig:
    """The configuration of one run of a point's cell; the workload is drawn from the seed."""
    values: dict[str, Any] = cell.values
    recipe = Recipe(**{name: values.pop(name) for name in _WORKLOAD})
    policy = str(values.pop(POLICY))
    options: dict[str, Any] = {key: typed(key, value) for key, value in values.items()}
    return RunConfig(trace=paper_name(recipe, seed), policies=(policy,), seed=seed, **options)
