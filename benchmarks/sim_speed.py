"""CPU and wall seconds and peak memory of whole `orbitflow` commands, start-up included.

    .venv/bin/python benchmarks/sim_speed.py [--trace FILE] [--repeat 3] [--only WORD]

Each row of `docs/performance.md` runs in fresh processes; medians are printed beside what was asked
for. CPU time is what the operating system counted for the process and its children, so that a busy
machine disturbs it less than a clock on the wall would. `--trace` also takes the known name
`azure_conv`, which is fetched once.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple


class Case(NamedTuple):
    """One command line and what is asked of it."""

    label: str
    options: tuple[str, ...]
    cpu_asked_s: float | None = None
    wall_asked_s: float | None = None
    memory_asked_mb: float | None = None


class Cost(NamedTuple):
    """What one process took, and its children."""

    cpu_s: float
    wall_s: float
    peak_mb: float


def run_once(command: list[str], cwd: str) -> Cost:
    """Run a command to its end and ask the operating system what it took."""
    began_s = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=cwd)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {child.returncode}")
    wall_s = time.monotonic() - began_s
    return Cost(usage.ru_utime + usage.ru_stime, wall_s, usage.ru_maxrss / 1024)


def cases(trace: str, many: Path) -> list[Case]:
    """The rows of `docs/performance.md`. `many` is a trace of a million requests."""
    paper = ("sim", "--trace", trace, "--profile", "a5000-llama3-8b-paper", "--quiet")
    slow = (*paper, "--rate-scale", "0.18")
    roomy = ("--gpu-memory", "4644GiB", "--max-batch", "0")  # 4 TiB of KV beside the weights
    alone = {"no-offload": 3.0, "dynamic": 5.0, "orbitflow": 9.0, "orbit": 10.0}
    chunks = ("--max-batch", "128", "--prefill-chunk", "512", "--policy", "no-offload")
    grid = ("--grid", "slo_scale=1,1.5,2,2.5,3", "--seeds", "10", "--workers", "2", "--quiet")
    return [
        Case("four policies", slow, 25, 13),
        *(
            Case(f"{name} alone", (*slow, "--policy", name), asked)
            for name, asked in alone.items()
        ),
        Case("whole, chunks of 512, batch 128", (*paper, *chunks)),
        Case("whole at 4 TiB, no-offload", (*paper, *roomy, "--policy", "no-offload"), 4),
        Case("whole at 4 TiB, orbitflow", (*paper, *roomy, "--policy", "orbitflow"), 15),
        Case(
            "a million requests, no-offload",
            ("sim", "--trace", str(many), "--policy", "no-offload", "--quiet"),
            80, None, 150,
        ),
        Case(
            "50 cells of the paper's trace, orbitflow",
            ("study", "run", "--trace", "paper", "--policy", "orbitflow", *grid),
            None, 12,
        ),
        Case("--help", ("--help",), 0.15),
        Case("sim --help", ("sim", "--help"), 0.25),
    ]  # fmt: skip


def _asked(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", default="azure_conv")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", default="", help="rows whose label has this word")
    arguments = parser.parse_args()
    trace = arguments.trace
    trace = str(Path(trace).resolve()) if os.path.exists(trace) else trace
    program = [sys.executable, "-m", "orbitflow"]
    with tempfile.TemporaryDirectory() as folder:
        many = Path(folder) / "million.jsonl"
        wanted = [case for case in cases(trace, many) if arguments.only in case.label]
        if any(str(many) in case.options for case in wanted):
            drawn = ("trace", "synth", "--like", "azure_conv", "--num-requests", "1000000")
            run_once([*program, *drawn, "--out", str(many)], folder)
        print(f"{'row':<42}{'CPU s':>8}{'asked':>7}{'wall s':>8}{'asked':>7}{'MB':>6}{'asked':>7}")
        for case in wanted:
            costs = []
            for _ in range(arguments.repeat):
                inner = tempfile.mkdtemp(dir=folder)
                costs.append(run_once([*program, *case.options], inner))
                shutil.rmtree(inner)
            cpu_s = statistics.median(c.cpu_s for c in costs)
            wall_s = statistics.median(c.wall_s for c in costs)
            peak = max(c.peak_mb for c in costs)
            print(
                f"{case.label:<42}{cpu_s:>8.2f}{_asked(case.cpu_asked_s):>7}{wall_s:>8.1f}"
                f"{_asked(case.wall_asked_s):>7}{peak:>6.0f}{_asked(case.memory_asked_mb):>7}",
                flush=True,
            )


if __name__ == "__main__":
    main()
