"""The command line within the test's process, as tests of commands call it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import typer.main

from orbitflow.cli import main


class Result(NamedTuple):
    code: int
    out: str
    err: str


Invoke = Callable[..., Result]


# Built once, as in a process of its own: that takes longer than refusing an option, and what is
# built keeps no state between calls.
built_once = cache(typer.main.get_command)


def invoker(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Invoke:
    """Call `orbitflow` with arguments."""
    monkeypatch.setattr(typer.main, "get_command", built_once)

    def invoke(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["orbitflow", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit:
            main()
        out, err = capfd.readouterr()
        return Result(exit.value.code if isinstance(exit.value.code, int) else 0, out, err)

    return invoke


def write_trace(path: Path, requests: list[tuple[float, int, int]]) -> None:
    """Write arrivals in milliseconds, prompts and outputs in tokens."""
    keys = ("timestamp", "input_length", "output_length")
    rows = [json.dumps(dict(zip(keys, request, strict=True))) for request in requests]
    path.write_text("\n".join(rows) + "\n")
