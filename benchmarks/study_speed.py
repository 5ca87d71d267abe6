"""Wall-clock and CPU seconds of a study of 200 cells, with one worker and with two.

    .venv/bin/python benchmarks/study_speed.py PAPER_TRACE.json [--cells 200] [--repeat 1]

The bars: at most 60 s with two workers on two cores, and two workers at least 1.7 times as fast as
one. On a busy machine wall-clock times say little, so CPU time is printed beside them: what two
workers cost beyond one is start-up, and CPU / wall says how many cores the study was given.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

BAR_S, BAR_SPEEDUP = 60.0, 1.7


class Cost(NamedTuple):
    """What one study took."""

    wall_s: float
    cpu_s: float


def run_once(trace: Path, cells: int, workers: int) -> Cost:
    """Run a fresh study to its end."""
    rates = ",".join(f"{0.5 + n / cells:.6f}" for n in range(cells))
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "orbitflow", "study", "run", "--trace", str(trace), "--quiet"),
            *("--policy", "dynamic", "--grid", f"rate_scale={rates}", "--workers", str(workers)),
            *("--out", str(Path(folder) / "study")),
        ]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall_s, cpu_s)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace", type=Path, help="the paper's 52-request trace, JSON")
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=1, help="the fastest counts")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{arguments.cells} cells, dynamic; {os.cpu_count()} CPUs, load before {load:.2f}")
    print(f"{'workers':>7}{'wall s':>9}{'CPU s':>9}{'CPU / wall':>12}")
    best: dict[int, Cost] = {}
    for workers in (1, 2):
        costs = [
            run_once(arguments.trace.resolve(), arguments.cells, workers)
            for _ in range(arguments.repeat)
        ]
        best[workers] = cost = min(costs)
        ratio = cost.cpu_s / cost.wall_s
        print(f"{workers:>7}{cost.wall_s:>9.1f}{cost.cpu_s:>9.1f}{ratio:>12.2f}", flush=True)
    speedup = best[1].wall_s / best[2].wall_s
    print(f"two workers: {best[2].wall_s:.1f} s (bar {BAR_S:g} s), {speedup:.2f} x one worker")
    print(f"(bar {BAR_SPEEDUP:g} x); per cell {best[1].cpu_s / arguments.cells * 1e3:.0f} ms CPU")


if __name__ == "__main__":
    main()
