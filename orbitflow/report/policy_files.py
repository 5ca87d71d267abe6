"""The files of one policy in a run's folder, read into columns. `docs/formats.md` has the formats.

Raises a UserError that names the file, and the line if there is one, for what cannot be read.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from orbitflow.arrays import FloatArray
from orbitflow.errors import UserError
from orbitflow.placement import HostLayers

_TIMES = (
    *("arrival_s", "admitted_s", "first_token_s", "last_token_s"),
    *("ttft_s", "tpot_s", "slo_tbt_s"),
)
_STEPS = (
    *("start_s", "end_s", "passes", "decoding", "link_busy_s"),
    *("gpu_pages", "host_pages"),
)
_PASSES = ("measured_s", "by_profile_s", "believed_s")
_COUNTS = ("id", "prompt_tokens", "output_tokens")


class Decision(NamedTuple):
    """One line of `decisions.jsonl`, as far as reports need it."""

    t_s: float
    passes: int
    admit: tuple[int, ...]
    park: tuple[int, ...]
    drop: tuple[int, ...]
    resume: tuple[int, ...]
    default: HostLayers
    exceptions: Mapping[int, HostLayers]
    places_all: bool  # False: only who is admitted is placed
    gpu_pages: int
    host_pages: int


@dataclass(frozen=True)  # no slots: what is asked for twice is kept
class PolicyFiles:
    """Where one policy's files are; each is read when it is asked for."""

    path: Path

    @cached_property
    def requests(self) -> Mapping[str, FloatArray]:
        """Columns of `requests.jsonl`; what a request does not have is NaN."""
        rows = read_lines(self.path / "requests.jsonl")
        try:
            return {
                name: np.array([row[name] for row in rows], dtype=np.float64)
                for name in (*_COUNTS, *_TIMES)
            }
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{self.path}/requests.jsonl is none of this version ({error!r}): run it again"
            ) from None

    def check_requests(self, wanted: int) -> None:
        """Raise a UserError if `requests.jsonl` has fewer whole lines."""
        path = self.path / "requests.jsonl"
        if (found := _bytes_of(path).count(b"\n")) < wanted:
            raise UserError(
                f"{path} has {found} whole lines, the summary is of {wanted} requests: run it again"
            )

    def steps(self) -> Mapping[str, npt.NDArray[Any]]:
        """Columns of `steps.npz`."""
        return read_columns(self.path / "steps.npz", _STEPS)

    def gaps(self) -> Mapping[str, FloatArray]:
        """Columns of `tbt.npz`."""
        return read_columns(self.path / "tbt.npz", ("share", "tbt_s"))

    def passes(self) -> Mapping[str, npt.NDArray[Any]] | None:
        """Columns of `passes.npz`; None of a run that was not validated."""
        path = self.path / "passes.npz"
        return read_columns(path, _PASSES) if path.exists() else None

    def decisions(self) -> list[Decision]:
        """The lines of `decisions.jsonl`."""
        rows = read_lines(self.path / "decisions.jsonl")
        try:
            return [_decision(row) for row in rows]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{self.path}/decisions.jsonl is none of this version ({error!r}): run it again"
            ) from None


def _decision(row: Mapping[str, Any]) -> Decision:
    return Decision(
        row["t_s"],
        row["pass"],
        tuple(row["admit"]),
        tuple(row["park"]),
        tuple(row["drop"]),
        tuple(row["resume"]),
        tuple(row["host_layers"]),
        {int(name): tuple(layers) for name, layers in row["exceptions"].items()},
        row["window"] is not None,
        row["gpu_pages"],
        row["host_pages"],
    )


def read_lines(path: Path) -> list[Any]:
    """The JSON objects of a file, one per line; a torn last line, without its end, is left out."""
    try:
        content = _bytes_of(path).decode()
    except ValueError:
        raise UserError(f"{path} is not UTF-8: run it again") from None
    lines = content[: content.rfind("\n") + 1].splitlines()
    try:
        rows: list[Any] = json.loads(f"[{','.join(lines)}]")
        if len(rows) == len(lines):
            return rows
    except ValueError:
        pass
    return [_row(path, number, line) for number, line in enumerate(lines, 1)]


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): run it again") from None


def _row(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        raise UserError(f"{path}:{number} is not JSON: run it again") from None


def read_columns(path: Path, names: Sequence[str]) -> Mapping[str, npt.NDArray[Any]]:
    """These columns of an .npz file."""
    try:
        with path.open("rb") as file, np.load(file) as columns:
            if missing := [name for name in names if name not in columns]:
                raise UserError(f"{path} lacks {missing[0]}: run it again")
            return {name: columns[name] for name in names}
    except OSError as error:
        reason = error.strerror or "it is broken"
        raise UserError(f"{path} cannot be read ({reason}): run it again") from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise UserError(f"{path} is broken: run it again") from None
