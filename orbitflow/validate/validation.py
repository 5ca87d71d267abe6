"""The verdict on a run: replay, passes, figures and decisions, policy by policy.

noise floor: two runs of the backend differ as well; who wants to know by how much runs twice
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.files import ColumnFile, column_file
from orbitflow.sim.run import simulate_policy
from orbitflow.validate.compare import ComparedFigure, FirstDifference, compare, first_difference
from orbitflow.validate.passes import Replayed, replay_run
from orbitflow.validate.recorded import DECISIONS, PASSES, RecordedRun
from orbitflow.validate.side_by_side import without_timeline, write_timeline

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
    """Validate every policy of a run; leaves its simulation beside it, in `simulated/`."""
    found = []
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
    outputs = _Beside(run.path / FOLDER)
    plain = without_timeline(run.scenario)
    simulated = simulate_policy(plain, name, outputs, lambda done: None)
    if run.scenario.config.timeline:
        write_timeline(run.scenario, name, run.path / FOLDER)
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


class _Beside:
    """Outputs in a folder beside the run's own; what was there is replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def lines(self, name: str) -> Iterator[TextIO]:
        """Open a file of lines."""
        with self._target(name).open("w", encoding="utf-8") as out:
            yield out

    @contextlib.contextmanager
    def columns(self, name: str) -> Iterator[ColumnFile]:
        """Open a file of columns."""
        with column_file(self._target(name)) as out:
            yield out

    def _target(self, name: str) -> Path:
        target = self._path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target
