"""CBC as a process: what it leaves behind, how it fails, and where PuLP 4 keeps it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pulp
import pytest
from orbitflow.planner.solver import Effort, Status, solve

from orbitflow.planner.solvers import Answer, SolverName
from orbitflow.planner.solvers import cbc as module


def ask(**effort: float) -> Answer:
    problem = pulp.LpProblem("one", pulp.LpMaximize)
    x = problem.add_variable("x", 0, 2.5, cat=pulp.LpInteger)
    problem.setObjective(x)
    problem += 3 * x <= 7
    return solve(problem, [x], solver=SolverName.CBC, effort=Effort(**effort))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go; its name has a space."""
    folder = tmp_path / "with a space"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def plant(monkeypatch: pytest.MonkeyPatch, folder: Path, lines: str) -> None:
    """Put a shell script in the place of CBC."""
    script = folder.parent / "my cbc"
    script.write_text(f"#!/bin/sh\n{lines}\n")
    script.chmod(0o755)
    monkeypatch.setattr(module, "_executable", lambda: str(script))


def test_folders_with_spaces_and_nothing_left(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = folder.parent / "the cbc"
    shutil.copy(str(module._executable()), copy)
    monkeypatch.setattr(module, "_executable", lambda: str(copy))
    answer = ask()
    assert (answer.status, answer.values) == (Status.OPTIMAL, (2,))
    assert list(folder.iterdir()) == []
    assert sorted(folder.parent.iterdir()) == [copy, folder]


def test_an_interrupt_leaves_neither_process_nor_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = folder.parent / "pid"
    plant(monkeypatch, folder, f'echo $$ > "{note}"; kill -INT $PPID; exec sleep 60')
    with pytest.raises(KeyboardInterrupt):
        ask()
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
    assert list(folder.iterdir()) == []


def test_an_interrupt_that_another_thread_takes_while_it_starts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system may give Ctrl-C to any thread; Python raises it in this one, wherever it is."""
    plant(monkeypatch, folder, "exec sleep 60")
    started: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self)
            other = threading.Thread(
                target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGINT)
            )
            other.start()
            other.join()

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        ask()
    assert started[0].returncode is not None
    assert list(folder.iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("exit 3", "exit status 3"),
        ("kill -9 $$", "exit status -9"),
        ("exit 0", "wrote no solution"),
        (": > answer.sol", "an empty solution"),
        ("echo Unbounded - objective value 0 > answer.sol", "unbounded - objective value 0"),
        (
            "echo 'Stopped on time (no integer solution - continuous used)' > answer.sol",
            "stopped on time (no integer solution - continuous used)",
        ),
        ("printf 'Optimal - objective value 9\\n0 c0\\n' > answer.sol", "ValueError"),
        ("printf 'Optimal - objective value 9\\n0 c7 1 0\\n' > answer.sol", "IndexError"),
        (
            "printf 'Optimal - objective value 9\\n0 c0 nan 0\\n' > answer.sol",
            "called optimal, but",
        ),
        ("printf 'Optimal - objective value 9\\n0 c0 9 0\\n' > answer.sol", "called optimal, but"),
    ],
)
def test_its_failures(
    folder: Path, monkeypatch: pytest.MonkeyPatch, lines: str, message: str
) -> None:
    plant(monkeypatch, folder, lines)
    answer = ask()
    assert answer[:4] == (Status.FAILED, None, (), "CBC")
    assert answer.message.startswith(message)
    assert list(folder.iterdir()) == []


def test_one_that_never_ends_is_killed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, folder, "exec sleep 60")
    monkeypatch.setattr(module, "_GRACE_S", 0.05)
    assert ask(seconds=0.05).message == "does not heed its time limit"


def test_not_executable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_executable", lambda: str(folder))
    assert ask().message.startswith("PermissionError")


def test_where_pulp_4_keeps_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It brings none: its COIN_CMD knows that of cbcbox, else it names that of the PATH."""
    own = str(module._executable())
    monkeypatch.delattr(pulp, "PULP_CBC_CMD", raising=False)
    monkeypatch.setattr(pulp, "COIN_CMD", lambda **_: SimpleNamespace(path=own))
    assert module._executable() == own
    monkeypatch.setattr(pulp, "COIN_CMD", lambda **_: SimpleNamespace(path="cbc"))
    monkeypatch.setenv("PATH", str(folder))
    assert module._executable() is None
    shutil.copy(own, folder / "cbc")
    assert module._executable() == str(folder / "cbc")
