"""CPU seconds of `orbitflow report` over many runs, and bytes of the page.

    .venv/bin/python -m benchmarks.report_speed [--runs 50] [--requests 300]

Simulates runs of a synthetic twin of the Azure trace at seeds of their own, one after the other,
under two policies each, and reports over all of them in a fresh process: user and system time as
the operating system counted them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.sim_speed import run_once

BAR_CPU_S, BAR_MB = 10.0, 5.0
POLICIES = ("no-offload", "dynamic")


def simulate(folder: Path, seed: int, requests: int) -> None:
    """One run."""
    policies = [word for name in POLICIES for word in ("--policy", name)]
    command = [
        *(sys.executable, "-m", "orbitflow", "sim", "--trace", "azure_conv", *policies),
        *("--num-requests", str(requests), "--arrival-jitter", "0.01", "--seed", str(seed)),
        *("--out", str(folder), "--quiet"),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> None:
    """Simulate, report, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--requests", type=int, default=300)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        folders = [Path(root) / f"run-{seed}" for seed in range(arguments.runs)]
        for seed, folder in enumerate(folders):
            simulate(folder, seed, arguments.requests)
        page = Path(root) / "report.html"
        report = [sys.executable, "-m", "orbitflow", "report", *map(str, folders), "-o", str(page)]
        cost = run_once(report, root)
        size_mb = page.stat().st_size / 1e6
    print(f"{arguments.runs} runs of {arguments.requests} requests under {len(POLICIES)} policies")
    print(
        f"CPU {cost.cpu_s:.1f} s (asked {BAR_CPU_S:g}), page {size_mb:.2f} MB (asked {BAR_MB:g}), "
        f"peak memory {cost.peak_mb:.0f} MB"
    )


if __name__ == "__main__":
    main()
