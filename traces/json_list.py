"""The objects of one big JSON list, one at a time: a file of gigabytes is never held whole.

A buffer slides over the text. What cannot be decoded at its end may go on beyond it, so the buffer
doubles until the object is whole; a mistake before the end is a mistake.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from orbitflow.errors import TraceError
from orbitflow.traces.fields import quoted
from orbitflow.traces.rows import bad_line, undecodable

BLOCK_CHARACTERS = 1 << 18
MOST_CHARACTERS = 1 << 26
"""No object is longer: what looks like one is a list that was never closed, or another format."""

_LONGEST_LITERAL = len("\\ud800\\udc00")
_SPACE = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode


def numbered_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give the objects of a list with the lines on which they begin.

    Raise a TraceError if the file is anything but one whole list of objects.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from _objects(_Buffer(path, file))
    except UnicodeDecodeError as error:
        raise undecodable(path) from error


def _objects(text: _Buffer) -> Iterator[tuple[int, dict[str, Any]]]:
    text.expect("[", "a list of objects")
    if text.peek() == "]":
        text.expect("]", "the end of the list")
    else:
        mark = ","
        while mark == ",":
            text.peek()
            line = text.line_here()
            yield line, text.object()
            mark = text.peek()
            text.expect("]" if mark == "]" else ",", "a comma or the end of the list")
    if text.peek():
        raise text.error(f"{quoted(text.rest())} after the end of the list", "nothing")


class _Buffer:
    """A window on the text of a file, and a place in it."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path = path
        self.file = file
        self.text = ""
        self.place = 0
        self.line = 1  # of the first character in the window
        self.is_all = False

    def peek(self) -> str:
        """Skip white space and return the character there; nothing at the end of the file."""
        while True:
            space = _SPACE.match(self.text, self.place)
            self.place = space.end() if space else self.place
            if self.place < len(self.text):
                return self.text[self.place]
            if not self._read_on():
                return ""

    def expect(self, mark: str, expected: str) -> None:
        """Step over a mark."""
        found = self.peek()
        if found != mark:
            raise self.error(quoted(self.rest()) if found else self._cut_off(), expected)
        self.place += 1

    def object(self) -> dict[str, Any]:
        """Step over an object and return it."""
        if self.peek() != "{":
            raise self.error(quoted(self.rest()) if self.peek() else self._cut_off(), "an object")
        while True:
            try:
                value, self.place = _decode(self.text, self.place)
            except json.JSONDecodeError as error:
                if not self._may_go_on(error):
                    self.place = error.pos
                    raise self.error(f"not JSON ({error.msg})", "an object") from None
                if not self._read_on():
                    raise self.error(self._cut_off(), "the end of the list") from None
            except (ValueError, RecursionError) as error:
                raise self.error(f"not JSON ({quoted(str(error))})", "an object") from None
            else:
                record: dict[str, Any] = value
                return record

    def line_here(self) -> int:
        return self.line + self.text.count("\n", 0, self.place)

    def rest(self) -> str:
        return self.text[self.place : self.place + 40]

    def error(self, what: str, expected: str) -> TraceError:
        return bad_line(self.path, self.line_here(), what, expected)

    def _may_go_on(self, error: json.JSONDecodeError) -> bool:
        at_the_end = error.pos >= len(self.text) - _LONGEST_LITERAL
        return at_the_end or error.msg.startswith("Unterminated string")

    def _read_on(self) -> bool:
        """Drop what is behind and read as much again as is left; False at the end of the file."""
        self.line += self.text.count("\n", 0, self.place)
        left = self.text[self.place :]
        self.place = 0
        if len(left) > MOST_CHARACTERS:
            self.text = left
            raise self.error(f"an object of over {MOST_CHARACTERS:,} characters", "a shorter one")
        more = self.file.read(max(BLOCK_CHARACTERS, len(left)))
        self.text = left + more
        return bool(more)

    def _cut_off(self) -> str:
        return "the file ends in the middle of the list; it is truncated"
