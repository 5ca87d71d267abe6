"""CPU seconds and peak memory of whole `orbitflow sim` processes, start-up and output included.

    .venv/bin/python benchmarks/sim_speed.py AZURE_CONV_2023.csv [--repeat 5]

Each case runs in fresh processes; the median of user + system time and the largest resident set are
printed beside the bar. CPU time of the child is what the operating system counted, so that a busy
machine disturbs it less than a clock on the wall would.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple


class Case(NamedTuple):
    """One command line and what is asked of it."""

    label: str
    options: tuple[str, ...]
    cpu_bar_s: float | None
    memory_bar_mb: float | None


class Cost(NamedTuple):
    """What one process took."""

    cpu_s: float
    peak_mb: float


def run_once(command: list[str], cwd: str) -> Cost:
    """Run a command to its end and ask the operating system what it took."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=cwd)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {child.returncode}")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def cases(trace: Path) -> list[Case]:
    """The bars of the first issue, and the same at other loads."""
    sim = ("sim", "--trace", str(trace), "--quiet")
    plain = (*sim, "--policy", "no-offload", "--max-batch", "0")
    return [
        Case("whole trace, no-offload, chunk 0", (*plain, "--prefill-chunk", "0"), 3.0, 200),
        Case("the same at rate 1", (*plain, "--rate-scale", "1"), 3.0, 200),
        Case("whole trace, no-offload, chunk 512", (*plain, "--prefill-chunk", "512"), 8.0, 200),
        Case("whole trace, dynamic", (*sim, "--policy", "dynamic"), None, 200),
        Case("orbitflow --help", ("--help",), 0.4, None),
    ]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace", type=Path, help="the Azure 2023 conversation trace, CSV")
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    program = [sys.executable, "-m", "orbitflow"]
    print(f"{'case':<38}{'CPU s':>8}{'asked':>8}{'peak MB':>9}{'asked':>7}")
    for case in cases(arguments.trace.resolve()):
        costs = []
        for _ in range(arguments.repeat):
            folder = tempfile.mkdtemp()
            costs.append(run_once([*program, *case.options], folder))
            shutil.rmtree(folder)
        cpu_s = statistics.median(c.cpu_s for c in costs)
        peak = max(c.peak_mb for c in costs)
        asked_s = "-" if case.cpu_bar_s is None else f"{case.cpu_bar_s:g}"
        asked_mb = "-" if case.memory_bar_mb is None else f"{case.memory_bar_mb:g}"
        print(f"{case.label:<38}{cpu_s:>8.2f}{asked_s:>8}{peak:>9.0f}{asked_mb:>7}")


if __name__ == "__main__":
    main()
