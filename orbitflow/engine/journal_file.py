"""`journal.jsonl`: a journal on disk, small enough to be written while a server runs.

One line per call of the core. Times are written so that they read back to the last bit; of what
the core answered there is a digest, which is all that a replay needs to tell same from different.
Plans are not written: they follow from their questions, so a replay solves these again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from orbitflow.engine.journal import AdoptCall, Entry, FinishCall, StepCall, SubmitCall
from orbitflow.errors import UserError
from orbitflow.request import Request
from orbitflow.step import StepOutcome

SCHEMA_VERSION = 1
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class Lines(Protocol):
    """Something that takes text, such as an open file."""

    def write(self, text: str, /) -> object:
        """Take text."""
        ...


class JournalFile:
    """Writes entries as they come; a `Journal` keeps them with this."""

    def __init__(self, out: Lines) -> None:
        self._out = out
        out.write(_encode({"schema_version": SCHEMA_VERSION}) + "\n")

    def __call__(self, entry: Entry) -> None:
        """Write one entry."""
        self._out.write(_encode(_document(entry)) + "\n")


def digest(description: str) -> str:
    """What the file keeps of a description."""
    return hashlib.blake2b(description.encode(), digest_size=12).hexdigest()


def read_journal(path: Path) -> Iterator[Entry]:
    """The entries of a file, read as they are asked for; a torn last line ends them.

    Raise a UserError if it is no journal of this version.
    """
    with _opened(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                document = json.loads(line)
                if number == 1:
                    _check_version(path, document)
                    continue
                entry = _entry(document)
            except (ValueError, TypeError, KeyError, IndexError):
                if not line.endswith("\n"):
                    return
                raise UserError(f"{path}:{number} is no line of a journal: run again") from None
            yield entry


def _opened(path: Path) -> Any:
    try:
        return path.open(encoding="utf-8")
    except OSError as failure:
        raise UserError(f"cannot read {path} ({failure.strerror}): name a run's folder") from None


def _check_version(path: Path, document: Any) -> None:
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise UserError(f"{path} has schema_version {version}: this version reads {SCHEMA_VERSION}")


def _document(entry: Entry) -> dict[str, object]:
    if isinstance(entry, SubmitCall):
        return {"submit": entry.request, "now_s": entry.now_s, "refusal": entry.refusal}
    if isinstance(entry, StepCall):
        return {"step": digest(entry.answer), "now_s": entry.now_s}
    if isinstance(entry, AdoptCall):
        return {"adopt": entry.request_id, "now_s": entry.now_s}
    outcome = entry.outcome
    stalls = None if outcome.pass_stall_s is None else outcome.pass_stall_s.tolist()
    said = outcome._replace(pass_end_s=outcome.pass_end_s.tolist(), pass_stall_s=stalls)
    return {"finish": said._asdict(), "events": digest(entry.answer)}


def _entry(document: dict[str, Any]) -> Entry:
    if "submit" in document:
        return SubmitCall(document["now_s"], Request(*document["submit"]), document["refusal"])
    if "step" in document:
        return StepCall(document["now_s"], document["step"])
    if "adopt" in document:
        return AdoptCall(document["now_s"], document["adopt"], None)
    said = document["finish"]
    ends, stalls = np.array(said["pass_end_s"], dtype=np.float64), said["pass_stall_s"]
    outcome = StepOutcome(
        **said
        | {
            "pass_end_s": ends,
            "pass_stall_s": None if stalls is None else np.array(stalls, dtype=np.float64),
            "moves_done": tuple(said["moves_done"]),
        }
    )
    return FinishCall(outcome, document["events"])
