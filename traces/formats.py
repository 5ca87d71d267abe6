"""The registry of trace formats. A file's content says which it is; its suffix says nothing.

The first format that matches wins, so a special case stands above the general one.
"""

from __future__ import annotations

import os
from pathlib import Path

from orbitflow.errors import TraceError, nearest
from orbitflow.traces.azure import AZURE_2023, AZURE_2024
from orbitflow.traces.burstgpt import BURSTGPT
from orbitflow.traces.canonical import CANONICAL, MOONCAKE
from orbitflow.traces.fields import quoted
from orbitflow.traces.paper import PAPER
from orbitflow.traces.rows import TraceFormat, undecodable
from orbitflow.traces.sharegpt import SHAREGPT

FORMATS: tuple[TraceFormat, ...] = (
    PAPER,
    MOONCAKE,
    CANONICAL,
    AZURE_2024,
    AZURE_2023,
    BURSTGPT,
    SHAREGPT,
)
HEAD_BYTES = 64 * 1024


def find_format(path: Path, name: str = "auto") -> TraceFormat:
    """Return the format called `name`, or with auto the one that the file's first lines are in.

    Raise a TraceError if the file cannot be opened, is empty, or is in no known format.
    """
    head = _head(path)
    if name != "auto":
        return _named(name)
    text = head.decode("utf-8", errors="replace").removeprefix("\ufeff")
    for known in FORMATS:
        if known.matches(text):
            return known
    if "\ufffd" in text[:-1]:
        raise undecodable(path)
    tried = ", ".join(known.name for known in FORMATS)
    first = quoted(text.strip().partition("\n")[0])
    raise TraceError(f"{path}:1: not a known trace format ({first}); expected one of: {tried}")


def _named(name: str) -> TraceFormat:
    for known in FORMATS:
        if known.name == name:
            return known
    hint = nearest(name, ["auto", *(known.name for known in FORMATS)])
    raise TraceError(f"unknown trace format {quoted(name)}; {hint}")


def _head(path: Path) -> bytes:
    if os.path.isdir(path):
        raise TraceError(f"{path}: is a folder; expected a trace file")
    if os.path.exists(path) and not os.path.isfile(path):
        raise TraceError(f"{path}: is a pipe or device; expected a file, which is read twice")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError:
        raise TraceError(f"{path}: no such file; expected a trace file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise TraceError(f"{path}: cannot be read ({reason})") from None
    if not head.strip():
        raise TraceError(f"{path}: the file is empty; expected at least one request")
    return head
