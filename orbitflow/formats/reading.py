"""The one door for files that people name: bytes, text, JSON, lines of JSON, TOML.

Only a plain file is opened, so nothing waits for a pipe or reads a device without end. What is read
at once has a limit: a document of JSON, one line, a TOML file. JSON nests at most 64 deep. A
document of this project has finite numbers, and whole numbers of at most 64 bits. So whatever comes
through can be walked, compared and printed; what it means is for the codec or msgspec to check.

Every refusal is a UserError of one line: the file, the line where there is one, why, and a remedy.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, TypeVar

from orbitflow.errors import UserError

T = TypeVar("T")
PathLike = str | os.PathLike[str]

MOST_DOCUMENT_BYTES = 64 << 20
MOST_LINE_BYTES = 16 << 20
MOST_TOML_BYTES = 256 << 10
DEEPEST = 64
LARGEST_INT = 2**63 - 1

_MOST_REASON = 200  # characters: a reason may quote the file
_MARK = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)  # a text counts as one mark
_TOML_KEY = re.compile(r"[=,{\[\n]")
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_plain(path: PathLike, remedy: str) -> BinaryIO:
    """Open a plain file to read bytes. Raise a UserError if it is none, or cannot be read."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        mode = os.fstat(handle).st_mode
    except (OSError, ValueError) as failure:  # a ValueError: a name with a NUL
        raise _unreadable(path, failure, remedy) from None
    if not stat.S_ISREG(mode):
        os.close(handle)
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "no plain file")
        raise UserError(f"{os.fspath(path)} is {kind}: name a plain file")
    return os.fdopen(handle, "rb")


def check_plain(path: PathLike, remedy: str) -> None:
    """Raise a UserError as `open_plain` does, for a file that a library will open by its name."""
    open_plain(path, remedy).close()


def read_bytes(path: PathLike, remedy: str, most_bytes: int = MOST_DOCUMENT_BYTES) -> bytes:
    """The content of a plain file of at most `most_bytes`."""
    with open_plain(path, remedy) as file:
        try:
            content = file.read(most_bytes + 1)
        except OSError as failure:
            raise _unreadable(path, failure, remedy) from None
    if len(content) > most_bytes:
        raise UserError(
            f"{os.fspath(path)} is larger than {_mib(most_bytes)}, which no such file is: {remedy}"
        )
    return content


def _read_text(path: PathLike, kind: str, remedy: str, most_bytes: int) -> str:
    """The text of a file in UTF-8, without a byte order mark."""
    content = read_bytes(path, remedy, most_bytes)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        line = 1 + content.count(b"\n", 0, failure.start)
        what = f"byte 0x{content[failure.start]:02x} is not UTF-8"
        raise _no(kind, path, line, what, remedy) from None


def read_json(path: PathLike, remedy: str, *, has_any_number: bool = False) -> Any:
    """Parse a JSON document. A key may not come twice. Numbers must be finite and whole numbers of
    at most 64 bits, unless whoever asks looks at them (`has_any_number`).
    """
    text = _read_text(path, "JSON", remedy, MOST_DOCUMENT_BYTES)
    if (line := _too_deep(text)) is not None:
        raise _no("JSON", path, line, f"nests deeper than {DEEPEST} levels", remedy)
    try:
        value = json.loads(text, object_pairs_hook=_without_repeats)
        if not has_any_number:
            _check_numbers(value)
    except json.JSONDecodeError as failure:
        raise _no("JSON", path, failure.lineno, failure.msg, remedy) from None
    except ValueError as failure:
        what = str(failure).partition(":")[0]
        raise UserError(f"{os.fspath(path)} is not JSON: {what}: {remedy}") from None
    return value


def read_lines(
    path: PathLike,
    decode: Callable[[bytes], T],
    remedy: str,
    *,
    what: str = "cannot be read",
    may_be_torn: bool = True,
) -> Iterator[T]:
    """What `decode` makes of each line, one after another. A last line without its end, as a crash
    leaves it, is left out, or refused. `decode` raises a ValueError for what it does not take;
    then the line `what`.
    """
    with open_plain(path, remedy) as file:
        number = 0
        while line := file.readline(MOST_LINE_BYTES + 1):
            number += 1
            where = f"{os.fspath(path)}:{number}"
            if len(line) > MOST_LINE_BYTES:
                most = _mib(MOST_LINE_BYTES)
                raise UserError(f"{where} {what} (longer than {most}): {remedy}")
            if not line.endswith(b"\n"):
                if may_be_torn:
                    return
                raise UserError(f"{where} {what} (it is cut off): {remedy}")
            try:
                value = decode(line)
            except RecursionError:
                raise UserError(f"{where} {what} (it nests too deep): {remedy}") from None
            except ValueError as failure:
                reason = " ".join(str(failure)[:_MOST_REASON].split())
                raise UserError(f"{where} {what} ({reason}): {remedy}") from None
            yield value


def read_toml(path: PathLike, remedy: str) -> dict[str, Any]:
    """Parse a TOML file."""
    import tomllib

    text = _read_text(path, "TOML", remedy, MOST_TOML_BYTES)
    try:
        if any(part.count(".") > DEEPEST for part in _TOML_KEY.split(text)):
            raise RecursionError  # the time that tomllib takes grows with the square of the dots
        return tomllib.loads(text)
    except RecursionError:
        raise UserError(f"{os.fspath(path)} is not TOML: it nests too deep: {remedy}") from None
    except ValueError as failure:
        raise UserError(
            f"{os.fspath(path)} is not TOML: {str(failure)[:_MOST_REASON]}: {remedy}"
        ) from None


def _no(kind: str, path: PathLike, line: int, what: str, remedy: str) -> UserError:
    return UserError(f"{os.fspath(path)} is not {kind}: line {line}: {what}: {remedy}")


def _unreadable(path: PathLike, failure: Exception, remedy: str) -> UserError:
    reason = failure.strerror if isinstance(failure, OSError) else failure
    return UserError(f"{os.fspath(path)} cannot be read ({reason}): {remedy}")


def _too_deep(text: str) -> int | None:
    """The line on which a text nests deeper than is read; None if none does."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return None
    depth = 0
    for mark in _MARK.finditer(text):
        first = text[mark.start()]
        if first in "[{":
            depth += 1
            if depth > DEEPEST:
                return 1 + text.count("\n", 0, mark.start())
        elif first != '"':
            depth -= 1
    return None


def _without_repeats(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    made: dict[str, object] = {}
    for key, value in pairs:
        if key in made:
            raise ValueError(f"the key {json.dumps(key[:40])} is there twice")
        made[key] = value
    return made


def _check_numbers(document: object) -> None:
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{value} is no finite number")
        elif isinstance(value, int) and abs(value) > LARGEST_INT:
            raise ValueError(f"{hex(value)[:20]}... has more than 64 bits")


def _mib(size: int) -> str:
    return f"{size >> 10:,} KiB" if size < 1 << 20 else f"{size >> 20:,} MiB"
