"""A user's policy that goes wrong gets one line, wherever it is asked; of built-ins, tracebacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from reference.commands import Invoke, invoker

import orbitflow as of
from orbitflow.errors import PolicyError, policy_note
from orbitflow.policy.no_offload import NoOffload

FEW: dict[str, Any] = {"num_requests": 5, "kv_capacity_tokens": 4000}


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Invoke:
    return invoker(monkeypatch, capfd)


class Mine(NoOffload):
    """A built-in, as a user derives from it."""

    name = "mine"


@pytest.mark.parametrize("hook", ["configure", "bind", "pages_alone", "decide", "observe"])
def test_what_a_hook_raises_is_one_line_with_its_place(hook: str) -> None:
    def broken(*_: object) -> None:
        raise ValueError("first line\nsecond")

    broken.__name__ = hook
    policy = type("Broken", (Mine,), {hook: broken})
    with pytest.raises(ValueError, match="first line") as raised:
        of.simulate("demo", policy, **FEW)
    line = broken.__code__.co_firstlineno + 1
    said = f"policy mine: {hook} raised ValueError: first line second ({__file__}:{line})"
    assert policy_note(raised.value) == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "decide returned None: return an orbitflow.Decision"),
        ("admit", "decide returned 'admit': return"),
        ((), r"decide returned \(\): return"),
        (of.Decision(admit=5), "its decision has admit=5: give a tuple of request ids"),  # type: ignore[arg-type]
        (of.Decision(admit=("a",)), r"has admit=\('a',\): give a tuple"),  # type: ignore[arg-type]
        (of.Decision(pause=[1]), r"has pause=\[1\]: give a tuple"),  # type: ignore[arg-type]
        (of.Decision(window="x"), "has window='x': give a whole number of passes"),  # type: ignore[arg-type]
        (of.Decision(placement=(1,)), r"has placement=\(1,\): give an orbitflow.Placement"),  # type: ignore[arg-type]
        (of.Decision(placement=of.Placement((0, 32))), r"\(0, 32\): give .* from 0 to 31"),
        (of.Decision(placement=of.Placement((3, 1))), r"placement=\(3, 1\): give .* ascending"),
        (of.Decision(placement=of.Placement((), {0: (1, 1)})), r"placement=\(1, 1\): give"),
    ],
)
def test_decisions_that_are_none(given: Any, said: str) -> None:
    policy = type("Wrong", (Mine,), {"decide": lambda self, view: given})
    with pytest.raises(PolicyError, match=f"policy mine: .*{said}"):
        of.simulate("demo", policy, **FEW)


def test_an_error_of_a_built_in_has_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def decide(self: NoOffload, view: of.View) -> of.Decision:
        raise KeyError("ours")

    monkeypatch.setattr(NoOffload, "decide", decide)
    with pytest.raises(KeyError, match="ours") as raised:
        of.simulate("demo", "no-offload", **FEW)
    assert policy_note(raised.value) is None


@pytest.mark.parametrize("command", ["sim --trace demo --num-requests 5", "plan --contexts 2000"])
def test_commands_print_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "from orbitflow.policy.no_offload import NoOffload\n"
        "class Mine(NoOffload):\n"
        "    name = 'mine'\n"
        "    def decide(self, view):\n"
        "        return 1 / 0\n"
    )
    done = invoke(*command.split(), "--policy", "mine.py:Mine")
    assert done.code == 1
    place = f"({tmp_path}/mine.py:5)"
    last = done.err.splitlines()[-1]
    assert (
        last == f"orbitflow: policy mine: decide raised ZeroDivisionError: division by zero {place}"
    )
