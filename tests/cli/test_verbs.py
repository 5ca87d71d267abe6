"""The verbs and what the list of them says."""

from __future__ import annotations

import subprocess
import sys

import pytest

from orbitflow.cli import app
from orbitflow.cli.verbs import VERBS, Verb


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_the_list_says_what_the_verb_says(verb: Verb) -> None:
    found = verb.load()
    said = found.info.help if verb.is_group else found.__doc__.strip().splitlines()[0]
    assert verb.summary == said


def test_whoever_asks_for_the_app_gets_all_of_it() -> None:
    names = {command.name for command in app.registered_commands}
    names |= {group.name for group in app.registered_groups}
    assert names == {verb.name for verb in VERBS}


@pytest.mark.parametrize(
    ("arguments", "imported"),
    [((), set()), (("--help",), set()), (("trace", "--help"), {"trace"}), (("sim", "-h"), {"sim"})],
)
def test_only_what_is_asked_for_is_imported(arguments: tuple[str, ...], imported: set[str]) -> None:
    code = (
        "import sys, contextlib, io\n"
        "from orbitflow.cli import main\n"
        f"sys.argv = ['orbitflow', *{arguments!r}]\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main()\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    verbs = {f"orbitflow.cli.{verb.name}" for verb in VERBS}
    assert verbs & set(done.stdout.split()) == {f"orbitflow.cli.{name}" for name in imported}


def test_a_verb_that_is_not_there_is_told_from_those_that_are() -> None:
    command = [sys.executable, "-m", "orbitflow", "simm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "simm" in done.stderr
    assert "sim" in done.stderr.replace("simm", "")
