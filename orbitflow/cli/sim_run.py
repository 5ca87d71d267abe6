"""What `orbitflow sim` does once its options are read: resolve, announce, simulate, report."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from orbitflow.bound.bound import Bound
from orbitflow.cli.progress import RequestProgress
from orbitflow.config import RunConfig, to_toml
from orbitflow.results.bound_share import bound_of, with_shares
from orbitflow.results.run_files import environment, resolved, summary
from orbitflow.results.run_folder import RunFolder
from orbitflow.results.summary import PolicyReport
from orbitflow.scenario import Scenario, build_scenario
from orbitflow.sim.run import simulate_policy


def run_simulation(
    config: RunConfig, out: Path | None, *, as_json: bool, quiet: bool, bounded: bool = False
) -> None:
    """Simulate and leave a run folder behind, with shares of the upper bound if `bounded`."""
    talks = not (quiet or as_json)
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    folder = None if out is None else RunFolder(out)  # refuse a bad one before reading anything
    try:
        scenario = build_scenario(config)
    except BaseException:
        if folder is not None:
            folder.discard()
        raise
    if talks:
        from orbitflow.cli.tables import print_scenario

        print_scenario(scenario)
    if folder is None:
        folder = RunFolder.numbered(scenario.trace.name)
    env = environment(sys.argv, started)
    folder.write_text("config.toml", to_toml(config, resolved(scenario)))
    folder.write_json("env.json", env)
    bound: Bound | None = None
    try:
        if bounded:
            bound = bound_of(scenario)
        reports, wall_s = _simulate(scenario, folder, shown=talks)
    except BaseException as error:
        folder.incomplete(error)
        print(f"orbitflow: unfinished results are in {folder.path}", file=sys.stderr)
        raise
    if bound is not None:
        reports = {name: with_shares(report, bound) for name, report in reports.items()}
    content = summary(scenario, reports, bound)
    folder.write_json("summary.json", content)
    timing = {"wall_s": time.perf_counter() - clock, "policy_wall_s": wall_s}
    folder.write_json("env.json", env | timing)
    folder.complete()
    if as_json:
        print(json.dumps(content, indent=2, allow_nan=False))
    else:
        from orbitflow.cli.tables import print_results

        print_results(scenario, reports, folder.path, bound)


def _simulate(
    scenario: Scenario, folder: RunFolder, *, shown: bool
) -> tuple[dict[str, PolicyReport], dict[str, float]]:
    reports: dict[str, PolicyReport] = {}
    wall_s: dict[str, float] = {}
    with RequestProgress(len(scenario.trace), shown=shown) as progress:
        for name in scenario.policies:
            began = time.perf_counter()
            progress.begin(name)
            reports[name] = simulate_policy(scenario, name, folder, progress.advance)
            wall_s[name] = time.perf_counter() - began
    return reports, wall_s
