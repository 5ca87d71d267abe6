"""Files that are there whole or not at all: written beside their place, then moved into it.

At any moment `path` is what was there before or all of what is new. The neighbour bears the number
of the process, so that two may write the same file, and is gone however the writing ends, but for a
kill. A link stays a link.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

NEIGHBOURS = "*.partial"


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A file to write beside `path`, whose place it takes unless something fails. Raise an OSError
    if it cannot.
    """
    target = Path(os.path.realpath(path))
    neighbour = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        yield neighbour
        os.replace(neighbour, target)
    finally:
        neighbour.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike[str], text: str, *, errors: str = "strict") -> None:
    """Write a text in UTF-8. Raise an OSError if it cannot be written."""
    with replacing(path) as neighbour:
        neighbour.write_text(text, encoding="utf-8", errors=errors)
