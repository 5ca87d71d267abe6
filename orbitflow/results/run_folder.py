"""The folder of a run. Formats: `docs/formats.md`.

A file INCOMPLETE stands in the folder from the first moment until everything else is written.
Whatever interrupts the run (an error, Ctrl-C, a power cut) leaves it there, so half a run cannot be
taken for a whole one.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from orbitflow.errors import UserError, one_line
from orbitflow.files import column_file, write_whole
from orbitflow.results.recorder import ColumnSink

INCOMPLETE = "INCOMPLETE"


class OutputFolder:
    """A folder in which files are opened by name, such as ``orbit/steps.npz``. A file that is there
    already is replaced.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def columns(self, name: str) -> Iterator[ColumnSink]:
        """Open an .npz file to append blocks of rows to; it appears when all are written."""
        with column_file(self._target(name)) as out:
            yield out

    @contextlib.contextmanager
    def lines(self, name: str) -> Iterator[TextIO]:
        """Open a file to append lines to."""
        with self._target(name).open("w", buffering=1 << 16, encoding="utf-8") as out:
            yield out

    def _target(self, name: str) -> Path:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


class _Taken(UserError):
    """The folder exists already."""


class RunFolder(OutputFolder):
    """A new folder for one run. Raise a UserError if it exists or cannot be made."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._parents = [p for p in path.parents if not os.path.lexists(p)]  # made with it
        try:
            path.mkdir(parents=True)
            (path / INCOMPLETE).write_text("This run has not finished.\n")
        except FileExistsError:
            raise _Taken(f"--out {path} exists: name a new folder, or remove it") from None
        except OSError as error:
            self.discard()
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(error.errno, error.strerror, os.fspath(path)) from None
            raise UserError(
                f"--out {path} cannot be made ({error.strerror}): name a folder that you may write"
            ) from None

    @classmethod
    def numbered(cls, trace_name: str, root: Path = Path("runs")) -> RunFolder:
        """The first ``runs/<trace>-<n>`` that is free, also if two runs begin at once."""
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

    def incomplete(self, error: BaseException) -> None:
        """Say in the mark why the run stopped, if the disk still takes it."""
        is_interrupt = isinstance(error, KeyboardInterrupt)
        why = "interrupted" if is_interrupt else one_line(error)
        with contextlib.suppress(OSError):
            (self.path / INCOMPLETE).write_text(f"This run has not finished: {why}\n")

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
        (self.path / INCOMPLETE).unlink()
