"""The files of one policy in a run's folder, read into columns. `docs/formats.md` has the formats.

A file that cannot be read is refused with a UserError that names it, and the line if there is one.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from orbitflow.arrays import FloatArray
from orbitflow.errors import UserError
from orbitflow.placement import HostLayers

_STEPS = (
    *("start_s", "end_s", "passes", "decoding", "link_busy_s"),
    *("gpu_pages", "host_pages"),
)
_PASSES = ("measured_s", "by_profile_s", "believed_s")

T = TypeVar("T")


class LoggedRequest(msgspec.Struct, frozen=True):
    """One line of `requests.jsonl`, as far as reports need it."""

    id: int
    prompt_tokens: int
    output_tokens: int
    arrival_s: float
    admitted_s: float | None
    first_token_s: float | None
    last_token_s: float | None
    ttft_s: float | None
    tpot_s: float | None
    slo_tbt_s: float


class LoggedDecision(
    msgspec.Struct,
    frozen=True,
    rename={"passes": "pass", "pause": "park", "default": "host_layers"},
):
    """One line of `decisions.jsonl`. Pages are those that are held after the decision."""

    t_s: float
    passes: int
    admit: tuple[int, ...]
    pause: tuple[int, ...]
    drop: tuple[int, ...]
    resume: tuple[int, ...]
    default: HostLayers
    exceptions: Mapping[int, HostLayers]
    window: int | None
    gpu_pages: int
    host_pages: int

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

    def decisions(self) -> list[LoggedDecision]:
        """The lines of `decisions.jsonl`."""
        return read_lines(self.path / "decisions.jsonl", LoggedDecision)


def read_lines(path: Path, kind: type[T]) -> list[T]:
    """The objects of a file, one per line; a torn last line, without its end, is left out."""
    content = _bytes_of(path)
    decoder = msgspec.json.Decoder(kind)
    found = []
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        try:
            found.append(decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UserError(
                f"{path}:{number} cannot be read by this version ({error}): run it again"
            ) from None
    return found


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): run it again") from None


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
