"""The pages under docs/reference are what scripts/docs writes now, and leave nothing out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from orbitflow.machine.catalog import profile_names
from typer.main import get_command

from orbitflow.cli import app
from orbitflow.policy.registry import policy_names

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "reference"


def generator(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "reference_pages.py"), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("columns", ["40", "200"])
def test_committed_pages_are_what_the_code_says(columns: str) -> None:
    done = generator("--check", COLUMNS=columns, FORCE_COLOR="1")
    assert done.returncode == 0, f"run scripts/docs: {done.stdout}{done.stderr}"


def options(command: Any, name: str) -> set[tuple[str, str]]:
    """Every option of the real parser, with its command."""
    found = {
        (name, option)
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("-") and parameter.name != "help"
    }
    for below, child in getattr(command, "commands", {}).items():
        found |= options(child, f"{name} {below}")
    return found


def test_the_page_has_every_option_that_the_parser_takes() -> None:
    page = (FOLDER / "cli.md").read_text()
    written = set()
    for section in page.split("\n## ")[1:]:
        name = section.splitlines()[0]
        rows = [line for line in section.splitlines() if line.startswith("| `-")]
        names = [re.findall(r"`(-[^`]+)`", row.split(" | ")[0]) for row in rows]
        written |= {(name, option) for row in names for option in row}
    taken = {pair for pair in options(get_command(app), "orbitflow") if pair[0] != "orbitflow"}
    assert written == taken


def test_every_policy_and_profile_has_its_row() -> None:
    policies, profiles = (FOLDER / "policies.md").read_text(), (FOLDER / "profiles.md").read_text()
    assert re.findall(r"^\| `([^`]+)`", policies, re.MULTILINE) == policy_names()
    rows = re.findall(r"^\| `([^`]+)`", profiles, re.MULTILINE)
    assert rows[: len(profile_names())] == profile_names()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.md")), ids=lambda p: p.name)
def test_pages_are_plain(path: Path) -> None:
    text = path.read_text()
    assert "\x1b" not in text
    assert str(ROOT) not in text
    assert str(Path.home()) not in text
