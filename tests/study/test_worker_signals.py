"""Workers and signals: deaf to Ctrl-C from the first on, and gone when their study is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

FIRST_IS_DEAF = """
import signal
from multiprocessing.context import SpawnProcess
from orbitflow.study.worker import WorkerPool
blocked = []
start = SpawnProcess.start
def spy(self):
    start(self)
    blocked.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))
SpawnProcess.start = spy
with WorkerPool(1) as pool:
    pool.submit(abs, -1).result()
print(*blocked)
"""


def test_ctrl_c_is_blocked_all_the_while_the_first_worker_starts() -> None:
    """Python starts its resource tracker with the first worker, and unblocks SIGINT after it."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_IS_DEAF], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True"]


LONG = (
    *("study", "run", "--trace", "azure_conv", "--num-requests", "6000", "--policy", "dynamic"),
    *("--grid", "slo_scale=1,2", "--workers", "2", "--out", "s", "--quiet"),
)


def workers_of(parent: int) -> set[int]:
    """The processes that it has started with `spawn`."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and b"spawn_main" in command:
            found.add(int(folder.name))
    return found


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_workers_end_with_their_study(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "orbitflow", *LONG]
    study = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    workers: set[int] = set()
    try:
        while len(workers := workers_of(study.pid)) < 2:
            assert study.poll() is None, "it ended before it had two workers"
            time.sleep(0.01)
        study.send_signal(number)
        _, said = study.communicate(timeout=60)
        waited_until = time.monotonic() + 60
        while any(map(is_alive, workers)) and time.monotonic() < waited_until:
            time.sleep(0.01)
        assert not any(map(is_alive, workers))
    finally:
        study.kill()
        for worker in filter(is_alive, workers):
            os.kill(worker, signal.SIGKILL)
    if number is signal.SIGKILL:
        return
    assert study.returncode == 128 + number
    assert said.splitlines()[-1] == f"orbitflow: terminated by {number.name}"
    assert "Traceback" not in said
