"""The folder of a study: `study.json` says which study, `cells.jsonl` has a row per simulation
and per bound, whose cell has no policy.

Rows are appended by one process, each in one write. A whole row ends in a line feed: one torn by a
full disk is cut off at once, one torn by a power cut when the study goes on, so that no row is ever
appended to half of one. The last row of a simulation is the one that counts.
`lock` is held while the study runs. Formats: `docs/formats.md`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orbitflow import files as whole_file
from orbitflow.config import is_removed
from orbitflow.errors import UserError
from orbitflow.formats.reading import MOST_LINE_BYTES, open_plain, read_json
from orbitflow.study.stored import Row, read_rows, row_id, writer
from orbitflow.study.study import Study

_STUDY, _ROWS, _SUMMARY, _LOCK = "study.json", "cells.jsonl", "summary.json", "lock"


class StudyFolder:
    """An open study folder, locked until it is closed."""

    def __init__(self, path: Path, study: Study) -> None:
        """Make the folder, or go on with the same study in it. Raise a UserError otherwise."""
        self.path = path
        self._lock = _locked(path)
        self._out: int | None = None
        try:
            for left in path.glob(whole_file.NEIGHBOURS):  # by one that was killed
                left.unlink()
            _claim(path, study)
            _cut_torn_row(path / _ROWS)
            self.rows = read_rows(path)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            self._out = os.open(path / _ROWS, flags, 0o666)
        except BaseException:
            self.close()
            raise

    @classmethod
    def numbered(cls, study: Study, root: Path = Path("studies")) -> StudyFolder:
        """A new folder ``studies/<trace>-<n>``."""
        name = study.scenario.trace.name
        stem = "".join(c if c.isalnum() or c in "._-" else "-" for c in name)[:60] or "study"
        for number in itertools.count(1):
            path = root / f"{stem}-{number}"
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise _cannot(path, error) from None
            return cls(path, study)
        raise AssertionError("unreachable: the numbers do not end")

    def __enter__(self) -> StudyFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others have the folder."""
        if self._out is not None:
            os.close(self._out)
            self._out = None
        os.close(self._lock)

    def add(self, row: Row) -> None:
        """Append a row. Raise an OSError that says how to go on if it cannot be written whole; then
        none of it is there.
        """
        assert self._out is not None
        line = (json.dumps(row, allow_nan=False) + "\n").encode()
        whole = os.fstat(self._out).st_size
        try:
            if os.write(self._out, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with contextlib.suppress(OSError):  # else the next to open it cuts it off
                os.ftruncate(self._out, whole)
            raise _unwritten(self.path / _ROWS, error) from None
        self.rows[row_id(row)] = row

    def write_summary(self, summary: Mapping[str, object]) -> None:
        """Write what the rows come to."""
        self.write_document(_SUMMARY, summary)

    def write_document(self, name: str, content: Mapping[str, object]) -> None:
        """Write a JSON document beside it."""
        _write(self.path / name, content)

    def write_text(self, name: str, text: str) -> None:
        """Write a text beside it."""
        _write_text(self.path / name, text)


def _locked(path: Path) -> int:
    try:
        path.mkdir(parents=True, exist_ok=True)
        others = [p.name for p in path.iterdir() if not p.match(whole_file.NEIGHBOURS)]
        if not (path / _STUDY).exists() and set(others) - {_LOCK}:
            raise UserError(f"--out {path} holds something else than a study: name a new folder")
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _cannot(path, error) from None
    # flock, not filelock: the kernel lets go of it when a study is killed. filelock does the same
    # here, and where there is no flock it leaves a file behind that only a person can remove.
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise UserError(
            f"--out {path}: another study is running in it; wait for it, or name another folder"
        ) from None
    return lock


def _cannot(path: Path, error: OSError) -> UserError:
    return UserError(
        f"--out {path} cannot be made ({error.strerror}): name a folder that you may write"
    )


def _claim(path: Path, study: Study) -> None:
    """Write down which study this is, or see that it is the one that is here."""
    wanted = json.loads(json.dumps(study.definition()))
    file = path / _STUDY
    if not file.exists():
        _write(file, wanted)
        return
    found = read_json(file, "name a new folder, or remove this one")
    if not isinstance(found, dict):
        raise UserError(f"{file} is broken: name a new folder, or remove this one")
    _check_versions(path, found, wanted)
    if differing := _differences(found, wanted):
        raise UserError(
            f"--out {path} holds another study (it differs in {', '.join(differing)}): "
            "name a new folder, or repeat the command that began it"
        )


def _check_versions(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Rows of two versions are not compared with one another: their figures may differ."""
    ours, theirs = wanted["orbitflow_version"], writer(found)
    schema = found.get("schema_version")
    is_alike = found.get("orbitflow_version") == ours
    theirs = f"another build of {theirs}" if is_alike else theirs
    remedy = f"name a new folder, or go on with {theirs}"
    if schema != wanted["schema_version"]:
        raise UserError(
            f"--out {path} was begun by {theirs} with schema version {schema}, orbitflow {ours} "
            f"goes on with {wanted['schema_version']}: {remedy}"
        )
    if not is_alike:
        raise UserError(
            f"--out {path} was begun by {theirs}, this is {ours}, whose figures may differ: "
            f"{remedy}"
        )
    if options := list(_removed(found)):
        raise UserError(
            f"--out {path} was begun by {theirs} with {', '.join(options)}, which this one has no "
            f"more: {remedy}"
        )


def _removed(found: Mapping[str, Any]) -> Iterator[str]:
    """Options of a study, as they were written, whose value was removed since."""
    base, grid = found.get("base"), found.get("grid")
    given = [*base.items()] if isinstance(base, dict) else []
    for key, values in grid.items() if isinstance(grid, dict) else ():
        given += [(key, value) for value in values] if isinstance(values, list) else []
    for key, value in dict.fromkeys((key, str(value)) for key, value in given):
        if is_removed(key, value):
            yield f"--{key.replace('_', '-')} {value}"


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    names = []
    for key in dict.fromkeys((*wanted, *found)):
        left, right = found.get(key), wanted.get(key)
        if left == right:
            continue
        if key == "base" and isinstance(left, dict) and isinstance(right, dict):
            names += [k for k in dict.fromkeys((*right, *left)) if left.get(k) != right.get(k)]
        else:
            names.append(key)
    return names


def _cut_torn_row(file: Path) -> None:
    """Cut off what follows the last line feed."""
    if not file.exists():
        return
    whole = size = 0
    with open_plain(file, "name a new folder") as rows:
        while part := rows.readline(MOST_LINE_BYTES):
            size += len(part)
            whole = size if part.endswith(b"\n") else whole
    if whole < size:
        os.truncate(file, whole)


def _write(path: Path, value: Mapping[str, object]) -> None:
    _write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """`whole_file.replacing`, whose OSError says how to go on."""
    try:
        with whole_file.replacing(path) as neighbour:
            yield neighbour
    except OSError as error:
        raise _unwritten(path, error) from None


def _unwritten(path: Path, error: OSError) -> OSError:
    why = error.strerror or error
    return OSError(
        f"{path} cannot be written ({why}): free space there, then the same command "
        f"with --out {path.parent} goes on; what was written before is whole"
    )
