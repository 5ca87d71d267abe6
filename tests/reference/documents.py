"""The documents, their fenced blocks, the commands in these, and where links can lead."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
WITH_COMMANDS = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "howto").glob("*.md")),
    *sorted((ROOT / "docs" / "explanation").glob("*.md")),
)
EVERY = (*WITH_COMMANDS, *sorted((ROOT / "docs" / "reference").glob("*.md")))
_STARTS = ("orbitflow ", "./scripts/", "scripts/", "$ ")


class Block(NamedTuple):
    """A fenced block: its language, its lines without their indent, the line that it starts at."""

    language: str
    lines: tuple[str, ...]
    number: int


class Command(NamedTuple):
    """A command line, its words without a prompt or comment, and the output shown below it."""

    text: str
    words: tuple[str, ...]
    shown: tuple[str, ...]

    @property
    def arguments(self) -> tuple[str, ...] | None:
        """What `orbitflow` is given; None for another program."""
        is_ours = self.words[0] == "orbitflow" or self.words[0].endswith("scripts/orbitflow")
        return self.words[1:] if is_ours else None


def name(document: Path) -> str:
    """The path of a document inside the repository."""
    return document.relative_to(ROOT).as_posix()


def blocks(document: Path) -> list[Block]:
    """All fenced blocks, indented ones too. Raise a ValueError if one is not closed."""
    found: list[Block] = []
    language, indent, start = "", -1, 0
    lines: list[str] = []
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), start=1):
        fence = re.fullmatch(r"( *)```(\w*)", line)
        if fence and indent < 0:
            indent, language, start = len(fence[1]), fence[2], number
        elif fence and not fence[2]:
            found.append(Block(language, tuple(lines), start))
            lines, indent = [], -1
        elif indent >= 0:
            lines.append(line[indent:])
    if indent >= 0:
        raise ValueError(f"{document}:{start}: this block is not closed")
    return found


def commands(document: Path) -> list[Command]:
    """The commands of a document in order, each with the `text` block right after its own block."""
    found: list[Command] = []
    every = blocks(document)
    for block, after in zip_longest(every, every[1:]):
        if block.language not in ("", "sh", "bash", "console"):
            continue
        shown = after.lines if after is not None and after.language == "text" else ()
        of_block = list(_commands(block))
        if of_block:
            found += [*of_block[:-1], of_block[-1]._replace(shown=shown)]
    return found


def _commands(block: Block) -> Iterator[Command]:
    for line in "\n".join(block.lines).replace("\\\n", " ").splitlines():
        if line.startswith(_STARTS):
            words = tuple(shlex.split(line.removeprefix("$ "), comments=True))
            yield Command(shlex.join(words), words, ())


def links(document: Path) -> list[str]:
    """Targets of links and pictures outside of code, as they are written."""
    text = re.sub(r"^ *```.*?^ *```", "", document.read_text("utf-8"), flags=re.M | re.S)
    text = re.sub(r"`[^`\n]*`", "code", text)
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?:src|href)=[\"']([^\"']+)", text)


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a document."""
    text = re.sub(r"^ *```.*?^ *```", "", document.read_text("utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}
