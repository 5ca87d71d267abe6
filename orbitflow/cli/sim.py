"""`orbitflow sim`: one trace, one machine, several policies, one table."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orbitflow.cli.options import AsJson, Given, Quiet, RunOut, configured
from orbitflow.options import OUTPUT

if TYPE_CHECKING:
    from orbitflow.config import RunConfig
    from orbitflow.results.run_folder import RunFolder
    from orbitflow.results.summary import PolicyReport
    from orbitflow.scenario import Scenario


@configured()
def sim_command(
    given: Given,
    bound: Annotated[
        bool,
        typer.Option(
            "--bound",
            help="Also compute what no policy can exceed here (timely share, SLO attainment, "
            "goodput), and show each policy's share of it.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    out: RunOut = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Simulate how KV-offloading policies would serve a trace, and compare them under SLOs.

    Example: orbitflow sim --trace azure_conv.jsonl --policy no-offload,dynamic
    """
    run_simulation(given.config(), out, bounded=bound, as_json=as_json, quiet=quiet)


def run_simulation(
    config: RunConfig, out: Path | None, *, as_json: bool, quiet: bool, bounded: bool = False
) -> None:
    """Simulate and leave a run folder behind, with shares of the upper bound if `bounded`."""
    from orbitflow.config import to_toml
    from orbitflow.results.bound_share import bound_of, with_shares
    from orbitflow.results.run_files import environment, resolved, summary
    from orbitflow.results.run_folder import RunFolder
    from orbitflow.scenario import build_scenario

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
    try:
        bound = bound_of(scenario) if bounded else None
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
    from orbitflow.cli.progress import RequestProgress
    from orbitflow.sim.run import simulate_policy

    reports: dict[str, PolicyReport] = {}
    wall_s: dict[str, float] = {}
    with RequestProgress(len(scenario.trace), shown=shown) as progress:
        for name in scenario.policies:
            began = time.perf_counter()
            progress.begin(name)
            reports[name] = simulate_policy(scenario, name, folder, progress.advance)
            wall_s[name] = time.perf_counter() - began
    return reports, wall_s
