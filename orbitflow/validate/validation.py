"""A backend run held to its simulation, policy by policy: replay, passes, figures and decisions.

Two runs of the backend differ as well. Run twice to know by how much.
"""

from __future__ import annotations

import contextlib
import os
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.config import Fidelity
from orbitflow.files import column_file, replacing
from orbitflow.results.recorder import ColumnSink
from orbitflow.results.run_folder import OutputFolder
from orbitflow.scenario import Scenario
from orbitflow.sim.run import simulate_policy
from orbitflow.validate.compare import (
    ComparedFigure,
    FirstDifference,
    check_decisions,
    compare,
    first_difference,
)
from orbitflow.validate.passes import Replayed, replay_run
from orbitflow.validate.recorded import DECISIONS, PASSES, RecordedRun

SCHEMA_VERSION = 1
FOLDER = "simulated"


class PassErrors(NamedTuple):
    """Relative errors of predicted pass times: of all passes, and of the sum of all times."""

    passes: int
    mean: float | None
    median_absolute: float | None
    p95_absolute: float | None
    total: float | None


@dataclass(frozen=True, slots=True)
class PolicyValidation:
    """What was found of one policy."""

    policy: str
    replay: Replayed
    by_profile: PassErrors
    believed: PassErrors
    figures: tuple[ComparedFigure, ...]
    difference: FirstDifference | None

    def to_json(self) -> dict[str, object]:
        """One policy's object of `validation.json`."""
        replayed = self.replay
        divergence = replayed.divergence
        return {
            "replay": {
                "steps": replayed.steps,
                "is_same": divergence is None,
                "divergence": None if divergence is None else divergence._asdict(),
                "h2d_bytes": dict(zip(("counted", "said"), replayed.h2d_bytes, strict=True)),
                "d2h_bytes": dict(zip(("counted", "said"), replayed.d2h_bytes, strict=True)),
            },
            "passes": {
                "by_profile": self.by_profile._asdict(),
                "believed": self.believed._asdict(),
            },
            "figures": [figure._asdict() for figure in self.figures],
            "first_difference": None if self.difference is None else self.difference._asdict(),
        }


def validate(run: RecordedRun, told: Callable[[str], object]) -> list[PolicyValidation]:
    """Validate every policy of a run; leave its simulation in `simulated/` beside it."""
    found = []
    for name in run.scenario.policies:  # before the work, which may take minutes
        check_decisions(run.path / name / DECISIONS)
    for name in run.scenario.policies:
        told(name)
        found.append(_validate_policy(run, name))
    return found


def replay_passes(run: RecordedRun, name: str) -> Replayed:
    """Replay one policy and leave `passes.npz`."""
    replayed = replay_run(run, name)
    with column_file(run.path / name / PASSES) as out:
        out.write(replayed.columns)
    return replayed


def _validate_policy(run: RecordedRun, name: str) -> PolicyValidation:
    replayed = replay_passes(run, name)
    outputs = OutputFolder(run.path / FOLDER)
    plain = replace(run.scenario, config=replace(run.scenario.config, timeline=False))
    simulated = simulate_policy(plain, name, outputs, lambda done: None)
    if run.scenario.config.timeline:
        _write_timeline(run.scenario, name, outputs.path)
    return PolicyValidation(
        name,
        replayed,
        pass_errors(replayed.errors("by_profile_s"), replayed, "by_profile_s"),
        pass_errors(replayed.errors("believed_s"), replayed, "believed_s"),
        tuple(compare(run.measured[name], simulated.figures)),
        first_difference(run.path / name / DECISIONS, run.path / FOLDER / name / DECISIONS),
    )


def pass_errors(errors: FloatArray, replayed: Replayed, column: str) -> PassErrors:
    """Fold the errors of all passes."""
    if not len(errors):
        return PassErrors(0, None, None, None, None)
    size = np.abs(errors)
    measured = float(np.sum(replayed.columns["measured_s"]))
    return PassErrors(
        len(errors),
        float(errors.mean()),
        float(np.median(size)),
        float(np.percentile(size, 95)),
        float(np.sum(replayed.columns[column])) / measured - 1,
    )


def _write_timeline(scenario: Scenario, name: str, path: Path) -> None:
    """Simulate one policy layer by layer, as a run's timeline is, and keep the timeline alone.

    All figures of a validation are those of fidelity `step`, whose times may differ from fidelity
    `layer` by what `tests/test_layers.py` bounds.
    """
    config = replace(scenario.config, timeline=True, fidelity=Fidelity.LAYER)
    simulate_policy(replace(scenario, config=config), name, _TimelineOnly(path), lambda done: None)


class _TimelineOnly(OutputFolder):
    """Keeps the timeline once it is whole, and none of the other files."""

    @contextlib.contextmanager
    def lines(self, name: str) -> Iterator[TextIO]:
        """Open a file of lines."""
        if Path(name).name == "timeline.json":
            with replacing(self._target(name)) as part, part.open("w", encoding="utf-8") as out:
                yield out
        else:
            with open(os.devnull, "w", encoding="utf-8") as out:
                yield out

    @contextlib.contextmanager
    def columns(self, name: str) -> Iterator[ColumnSink]:
        """Open what takes blocks of rows and drops them."""
        yield self

    def write(self, block: Mapping[str, array[Any]]) -> None:
        """Write nothing."""
