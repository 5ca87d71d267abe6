"""Signals that are held back, and those that end a process."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from orbitflow.engine.signals import Terminated, end_by_exception, ended_by, held_back


class Stop(Exception):
    """What a handler of somebody else may raise."""


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    numbers = (signal.SIGALRM, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def raise_stop(number: int, frame: FrameType | None) -> None:
    raise Stop


def test_a_handler_runs_after_what_would_take_its_exception() -> None:
    signal.signal(signal.SIGALRM, raise_stop)
    seen = []

    def swallow() -> None:
        with held_back():
            try:
                signal.raise_signal(signal.SIGALRM)
            except Exception:
                seen.append("swallowed")
            seen.append("went on")

    with pytest.raises(Stop):
        swallow()
    assert seen == ["went on"]
    assert signal.getsignal(signal.SIGALRM) is raise_stop


def test_ctrl_c_is_held_back_as_well() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt), held_back():
        signal.raise_signal(signal.SIGINT)


def test_other_threads_have_nothing_to_hold_back() -> None:
    ran = []

    def enter() -> None:
        with held_back():
            ran.append(signal.getsignal(signal.SIGALRM))

    signal.signal(signal.SIGALRM, raise_stop)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert ran == [raise_stop]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_ending_raises_what_ctrl_c_raises(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_DFL)
    end_by_exception()
    with pytest.raises(KeyboardInterrupt, match=f"terminated by {number.name}") as raised:
        signal.raise_signal(number)
    assert isinstance(raised.value, Terminated)
    assert ended_by() == number


def test_who_ignores_hangups_goes_on_ignoring_them() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_by_exception()
    signal.raise_signal(signal.SIGHUP)


IN_AN_IMPORT = """
import os, signal, sys
hit = []
def hook(event, args):
    if event == "import" and args[0].split(".")[0] == {module!r} and not hit:
        hit.append(1)
        os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.addaudithook(hook)
from orbitflow.planner.planner import improve
try:
    improve(None, None)
except KeyboardInterrupt:
    sys.exit(130 if hit else 1)
"""


@pytest.mark.parametrize("module", ["highspy", "gurobipy", "coptpy"])
def test_ctrl_c_within_the_imports_of_pulp_is_not_lost(module: str) -> None:
    """PuLP imports every solver under a bare `except`."""
    code = IN_AN_IMPORT.format(module=module)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 130, done.stderr.decode()[-500:]
