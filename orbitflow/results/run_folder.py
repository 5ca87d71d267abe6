"""The folder that a run leaves behind, written so that nobody can mistake half a run for a whole
one.

A file INCOMPLETE stands in it from the first moment until everything else is written; whatever
interrupts the run (an error, Ctrl-C, a power cut) leaves it there. Formats: `docs/formats.md`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from orbitflow.errors import UserError
from orbitflow.files import ColumnFile, column_file, write_whole

_MARK = "INCOMPLETE"


class _Taken(UserError):
    """The folder exists already."""


class RunFolder:
    """A new folder for one run. Raise a UserError if it exists or cannot be made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parents = [p for p in path.parents if not os.path.lexists(p)]  # made with it
        try:
            path.mkdir(parents=True)
            (path / _MARK).write_text("This run has not finished.\n")
        except FileExistsError:
            raise _Taken(f"--out {path} exists: name a new folder, or remove it") from None
        except OSError as error:
            self._remove_parents()
            raise UserError(
                f"--out {path} cannot be made ({error.strerror}): name a folder that you may write"
            ) from None

    @classmethod
    def numbered(cls, trace_name: str, root: Path = Path("runs")) -> RunFolder:
        """The first ``runs/<trace>-<n>`` that nobody has taken, even if two look at once."""
        stem = "".join(c if c.isalnum() or c in "._-" else "-" for c in trace_name)[:60] or "run"
        for number in itertools.count(1):
            path = root / f"{stem}-{number}"
            if not path.exists():
                with contextlib.suppress(_Taken):
                    return cls(path)
        raise AssertionError("unreachable: the numbers do not end")

    def write_text(self, name: str, text: str) -> None:
        """Write one file whole."""
        write_whole(self.path / name, text, errors="backslashreplace")

    def write_json(self, name: str, value: object) -> None:
        """Write one JSON file, indented for people."""
        self.write_text(name, json.dumps(value, indent=2, allow_nan=False) + "\n")

    @contextlib.contextmanager
    def columns(self, name: str) -> Iterator[ColumnFile]:
        """Open an .npz file to append blocks of rows to; it appears when all are written."""
        target = self.path / name
        target.parent.mkdir(exist_ok=True)
        with column_file(target) as out:
            yield out

    @contextlib.contextmanager
    def lines(self, name: str) -> Iterator[TextIO]:
        """Open a file to append lines to."""
        target = self.path / name
        target.parent.mkdir(exist_ok=True)
        with target.open("w", buffering=1 << 16, encoding="utf-8") as out:
            yield out

    def incomplete(self, error: BaseException) -> None:
        """Say in the mark why the run stopped, if the disk still takes it."""
        is_interrupt = isinstance(error, KeyboardInterrupt)
        why = (
            "interrupted" if is_interrupt else " ".join(f"{type(error).__name__}: {error}".split())
        )
        with contextlib.suppress(OSError):
            (self.path / _MARK).write_text(f"This run has not finished: {why}\n")

    def discard(self) -> None:
        """Remove the folder of a run that never began."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._remove_parents()

    def _remove_parents(self) -> None:
        for parent in self._parents:
            with contextlib.suppress(OSError):
                parent.rmdir()

    def complete(self) -> None:
        """Take the mark away: everything is written."""
        (self.path / _MARK).unlink()
