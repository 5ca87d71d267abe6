"""The files of one policy in a run's folder, read into columns. `docs/formats.md` has the formats.

A file that cannot be read is refused with a UserError that names it, and the line if there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from orbitflow.arrays import FloatArray
from orbitflow.errors import UserError
from orbitflow.formats import reading
from orbitflow.formats.columns import read_columns
from orbitflow.formats.records import Natural, Real

_STEPS = (
    *("start_s", "end_s", "passes", "decoding", "link_busy_s"),
    *("gpu_pages", "host_pages"),
)
_REMEDY, _UNREAD = "run it again", "cannot be read by this version"
_PASSES = ("measured_s", "by_profile_s", "believed_s")

T = TypeVar("T")


class LoggedRequest(msgspec.Struct, frozen=True):
    """One line of `requests.jsonl`, as far as reports need it."""

    id: Natural
    prompt_tokens: Natural
    output_tokens: Natural
    arrival_s: Real
    admitted_s: Real | None
    first_token_s: Real | None
    last_token_s: Real | None
    ttft_s: Real | None
    tpot_s: Real | None
    slo_tbt_s: Real


class LoggedDecision(
    msgspec.Struct,
    frozen=True,
    rename={"passes": "pass", "pause": "park", "default": "host_layers"},
):
    """One line of `decisions.jsonl`. Pages are those that are held after the decision."""

    t_s: Real
    passes: Natural
    admit: tuple[Natural, ...]
    pause: tuple[Natural, ...]
    drop: tuple[Natural, ...]
    resume: tuple[Natural, ...]
    default: tuple[Natural, ...]
    exceptions: Mapping[int, tuple[Natural, ...]]
    window: Natural | None
    gpu_pages: Natural
    host_pages: Natural

    @property
    def places_all(self) -> bool:
        """Whether it places every request; without a window it places only those it admits."""
        return self.window is not None


@dataclass(frozen=True)  # no slots, which `cached_property` cannot have
class PolicyFiles:
    """The files of one policy; each is read when it is asked for."""

    path: Path

    @cached_property
    def requests(self) -> Mapping[str, FloatArray]:
        """Columns of `requests.jsonl`; what a request does not have is NaN."""
        rows = read_lines(self.path / "requests.jsonl", LoggedRequest)
        return {
            name: np.array([getattr(row, name) for row in rows], dtype=np.float64)
            for name in LoggedRequest.__struct_fields__
        }

    def check_requests(self, wanted: int) -> None:
        """Raise a UserError if `requests.jsonl` has fewer whole lines."""
        path = self.path / "requests.jsonl"
        if (found := sum(1 for _ in reading.read_lines(path, bool, _REMEDY))) < wanted:
            raise UserError(
                f"{path} has {found} whole lines, the summary is of {wanted} requests: run it again"
            )

    def steps(self) -> Mapping[str, npt.NDArray[Any]]:
        """Columns of `steps.npz`."""
        return read_columns(self.path / "steps.npz", _REMEDY, _STEPS)

    def gaps(self) -> Mapping[str, FloatArray]:
        """Columns of `tbt.npz`."""
        return read_columns(self.path / "tbt.npz", _REMEDY, ("share", "tbt_s"))

    def passes(self) -> Mapping[str, npt.NDArray[Any]] | None:
        """Columns of `passes.npz`; None of a run that was not validated."""
        path = self.path / "passes.npz"
        return read_columns(path, _REMEDY, _PASSES) if path.exists() else None

    def decisions(self) -> list[LoggedDecision]:
        """The lines of `decisions.jsonl`."""
        return read_lines(self.path / "decisions.jsonl", LoggedDecision)


def read_lines(path: Path, kind: type[T]) -> list[T]:
    """The objects of a file, one per line; a torn last line, without its end, is left out."""
    return list(reading.read_lines(path, msgspec.json.Decoder(kind).decode, _REMEDY, what=_UNREAD))
