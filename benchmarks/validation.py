"""Does the simulator tell the truth? Calibrate, serve for real, simulate the same, compare.

    python benchmarks/validation.py [--device cpu] [--link 0.2GB --link 0.4GB] [--repeats 3]

For every link rate, several times over: a calibration, then the trace under every policy and KV
capacity; each run is validated against its own simulation. The bars are medians over all runs
of |error|: 3 % for mean TPOT and makespan, 6 % for p95 TBT, 3 points for attainments; the ranking
of policies must be the same. How much two runs of the backend itself differ is printed beside the
errors: no simulator can be nearer. `--markdown FILE` writes the tables of docs/validation.md.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

POLICIES = ("no-offload", "dynamic", "flexgen", "orbitflow")
BARS = {"tpot_s.mean": 0.03, "makespan_s": 0.03, "tbt_s.p95": 0.06}
SHARES = ("slo_attainment", "ttft_attainment", "tpot_attainment", "timely_share")
SHARE_BAR = 0.03
RANKED = ("tpot_s.mean", "makespan_s", "timely_share")


class Cell(NamedTuple):
    """One policy on one machine."""

    link: str
    capacity: int
    policy: str


class Run(NamedTuple):
    """What one run measured and what its simulation said, by figure."""

    measured: dict[str, float | None]
    simulated: dict[str, float | None]
    errors: dict[str, float | None]
    replay_is_same: bool
    bytes_are_same: bool
    pass_error: float


def orbitflow(*arguments: str) -> str:
    """Run the command; its output."""
    command = [sys.executable, "-m", "orbitflow", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def serve(cell: Cell, profile: Path, out: Path, options: argparse.Namespace) -> Run:
    """One run and its validation."""
    where = ["--device", options.device, "--model", options.model]
    if options.device == "cpu":
        where += ["--link-bandwidth", cell.link]
    orbitflow(
        *("run", "--trace", options.trace, "--policy", cell.policy, "--out", str(out), "-q"),
        *("--profile", str(profile), "--kv-capacity-tokens", str(cell.capacity)),
        *where,
        *options.option,
    )
    found = json.loads(orbitflow("validate", str(out), "--json"))["policies"][cell.policy]
    figures = {figure["name"]: figure for figure in found["figures"]}
    counted = [found["replay"][way] for way in ("h2d_bytes", "d2h_bytes")]
    return Run(
        {name: figure["measured"] for name, figure in figures.items()},
        {name: figure["simulated"] for name, figure in figures.items()},
        {name: figure["error"] for name, figure in figures.items()},
        found["replay"]["is_same"],
        all(each["counted"] == each["said"] for each in counted),
        found["passes"]["by_profile"]["total"] or 0.0,
    )


def median(values: Iterable[float | None]) -> float:
    """Median of what there is."""
    known = [abs(value) for value in values if value is not None]
    return statistics.median(known) if known else 0.0


def noise(runs: Sequence[Run], figure: str) -> list[float]:
    """How far each pair of the same run lies apart: relative, of shares in shares."""
    apart = []
    for one, other in itertools.combinations(runs, 2):
        a, b = one.measured[figure], other.measured[figure]
        if a is not None and b is not None and (a or b):
            apart.append(abs(a - b) if figure in SHARES else abs(a / b - 1) if b else 0.0)
    return apart


def shown_noise(apart: Iterable[float]) -> str:
    """The median; unknown where nothing was run twice."""
    known = list(apart)
    return percent(median(known)) if known else "n/a"


def percent(value: float) -> str:
    """Two digits behind the point where they matter."""
    return f"{100 * value:.1f} %"


def same_ranking(cells: dict[Cell, list[Run]], figure: str) -> tuple[int, int]:
    """Pairs of policies that the simulator orders as the backend does, of those that differ.

    Pairs nearer than the noise of their runs have no order.
    """
    agreed = told = 0
    for one, other in itertools.combinations(cells, 2):
        if (one.link, one.capacity) != (other.link, other.capacity):
            continue
        real = [median_of(cells[cell], "measured", figure) for cell in (one, other)]
        model = [median_of(cells[cell], "simulated", figure) for cell in (one, other)]
        floor = max(median(noise(cells[cell], figure)) for cell in (one, other))
        scale = 1.0 if figure in SHARES else max(map(abs, real))
        if abs(real[0] - real[1]) <= max(floor, 0.005) * scale:
            continue
        told += 1
        agreed += (real[0] < real[1]) == (model[0] < model[1])
    return agreed, told


def median_of(runs: Sequence[Run], side: str, figure: str) -> float:
    """Median of a figure over the runs of a cell."""
    values = [getattr(run, side)[figure] for run in runs]
    return float(statistics.median([value for value in values if value is not None] or [0.0]))


def tables(cells: dict[Cell, list[Run]]) -> str:
    """Both tables in Markdown."""
    runs = [run for each in cells.values() for run in each]
    lines = [
        "| figure | median error of all runs | bar | noise of the backend itself |",
        "|---|---|---|---|",
    ]
    for figure, bar in (*BARS.items(), *((share, SHARE_BAR) for share in SHARES)):
        found = median(run.errors[figure] for run in runs)
        floor = shown_noise(itertools.chain(*(noise(each, figure) for each in cells.values())))
        lines.append(f"| {figure} | {percent(found)} | {percent(bar)} | {floor} |")
    lines += ["", "| link | KV tokens | policy | runs | TPOT mean | makespan | TBT p95 | "
              "SLO attainment | timely share | pass times | noise of TPOT |",
              "|---|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for cell, each in cells.items():
        shown: list[str] = [
            f"{unit(figure, median_of(each, 'measured', figure))} "
            f"{signed(statistics.median([run.errors[figure] or 0.0 for run in each]))}"
            for figure in (*BARS, "slo_attainment", "timely_share")
        ]
        passes = signed(statistics.median(run.pass_error for run in each))
        apart = shown_noise(noise(each, "tpot_s.mean"))
        row = (cell.link, f"{cell.capacity:,}", cell.policy, str(len(each)), *shown, passes, apart)
        lines.append(f"| {' | '.join(row)} |")
    lines.append("")
    for figure in RANKED:
        agreed, told = same_ranking(cells, figure)
        lines.append(
            f"* {figure}: {agreed} of {told} pairs of policies that differ in the same order"
        )
    replays = sum(run.replay_is_same for run in runs)
    exact = sum(run.bytes_are_same for run in runs)
    lines.append(f"* {replays} of {len(runs)} runs replay to the same decisions, bit for bit")
    lines.append(f"* link bytes of the same steps are exactly equal in {exact} of {len(runs)} runs")
    return "\n".join(lines) + "\n"


def unit(figure: str, value: float) -> str:
    """Milliseconds, seconds or percent."""
    if figure in SHARES:
        return percent(value)
    return f"{value:.1f} s" if figure == "makespan_s" else f"{1000 * value:.1f} ms"


def signed(error: float) -> str:
    """An error in brackets."""
    return f"({100 * error:+.1f})"


def heading(options: argparse.Namespace) -> str:
    """Where and when."""
    load = os.getloadavg()[0]
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    return (
        f"{when}, {options.device}, {options.model}, trace {options.trace}, Python "
        f"{platform.python_version()}, {os.cpu_count()} CPUs, load at the end {load:.2f}; "
        f"`{' '.join(['python', 'benchmarks/validation.py', *sys.argv[1:]])}`\n\n"
    )


def main() -> None:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="tiny-llama")
    parser.add_argument("--trace", default="demo")
    parser.add_argument("--policy", action="append")
    parser.add_argument("--link", action="append")
    parser.add_argument("--capacity", action="append", type=int)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--option", action="append", default=[], help="further ones of run")
    parser.add_argument("--out", type=Path, default=None, help="keep all runs here")
    parser.add_argument("--markdown", type=Path, default=None)
    options = parser.parse_args()
    links = (options.link or ["0.2GB", "0.4GB"]) if options.device == "cpu" else ["real"]
    cells: dict[Cell, list[Run]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        root = options.out or Path(scratch)
        root.mkdir(parents=True, exist_ok=True)
        for link in links:
            for number in range(options.repeats):
                profile = root / f"profile-{link}-{number}.json"
                calibrate(profile, link, options)
                for capacity in options.capacity or [4096]:
                    for policy in options.policy or POLICIES:
                        cell = Cell(link, capacity, policy)
                        out = root / f"{link}-{capacity}-{policy}-{number}"
                        run = serve(cell, profile, out, options)
                        cells.setdefault(cell, []).append(run)
                        told(cell, run)
    text = heading(options) + tables(cells)
    print(text)
    if options.markdown is not None:
        options.markdown.write_text(text)


def calibrate(profile: Path, link: str, options: argparse.Namespace) -> None:
    """Measure the machine just before."""
    arguments: list[Any] = ["calibrate", "--quick", "--model", options.model]
    arguments += ["--out", str(profile), "--force"]
    if options.device == "cpu":
        arguments += ["--device", "cpu", "--link-bandwidth", link]
    else:
        arguments += ["--gpu", options.device.partition(":")[2] or "0"]
    orbitflow(*arguments)


def told(cell: Cell, run: Run) -> None:
    """Say how it goes."""
    errors = ", ".join(f"{figure} {signed(run.errors[figure] or 0.0)}" for figure in BARS)
    print(f"{cell.link} {cell.capacity} {cell.policy}: {errors}", file=sys.stderr)


if __name__ == "__main__":
    main()
