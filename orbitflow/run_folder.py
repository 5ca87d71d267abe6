"""The folder that a run leaves behind, written so that nobody can mistake half a run for a whole
one.

A file INCOMPLETE stands in it from the first moment until everything else is written; whatever
interrupts the run (an error, Ctrl-C, a power cut) leaves it there. Formats: `docs/formats.md`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

import numpy as np

from orbitflow.errors import UserError

_MARK = "INCOMPLETE"


def default_run_path(trace_name: str, root: Path = Path("runs")) -> Path:
    """The first unused ``runs/<trace>-<n>``."""
    stem = "".join(c if c.isalnum() or c in "._-" else "-" for c in trace_name) or "run"
    number = 1
    while (root / f"{stem}-{number}").exists():
        number += 1
    return root / f"{stem}-{number}"


class RunFolder:
    """A new folder for one run. Raise a UserError if it exists or cannot be made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True)
            (path / _MARK).write_text("This run has not finished.\n")
        except FileExistsError:
            raise UserError(f"--out {path} exists: name a new folder, or remove it") from None
        except OSError as error:
            raise UserError(f"--out {path} cannot be made: {error.strerror}") from None

    def write_text(self, name: str, text: str) -> None:
        """Write one file whole."""
        target = self.path / name
        temporary = target.with_name(target.name + ".partial")
        temporary.write_text(text)
        os.replace(temporary, target)

    def write_json(self, name: str, value: object) -> None:
        """Write one JSON file, indented for people."""
        self.write_text(name, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def write_arrays(
        self, name: str, arrays: Mapping[str, np.ndarray[tuple[int], np.dtype[np.generic]]]
    ) -> None:
        """Write columns as an .npz file."""
        target = self.path / name
        target.parent.mkdir(exist_ok=True)
        temporary = target.with_name(target.name + ".partial")
        with temporary.open("wb") as out:
            np.savez(out, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, target)

    @contextlib.contextmanager
    def lines(self, name: str) -> Iterator[TextIO]:
        """Open a file to append lines to."""
        target = self.path / name
        target.parent.mkdir(exist_ok=True)
        with target.open("w", buffering=1 << 16) as out:
            yield out

    def incomplete(self, reason: str) -> None:
        """Say in the mark why the run stopped."""
        (self.path / _MARK).write_text(f"This run has not finished: {reason}\n")

    def complete(self) -> None:
        """Take the mark away: everything is written."""
        (self.path / _MARK).unlink()

    def discard(self) -> None:
        """Remove the folder of a run that never began."""
        shutil.rmtree(self.path, ignore_errors=True)
