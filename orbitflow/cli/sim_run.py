"""What `orbitflow sim` does once its options are read: resolve, announce, simulate, report."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from orbitflow.api.simulate import PolicyProgress, now, run_in_folder
from orbitflow.cli.progress import RequestProgress
from orbitflow.config import RunConfig
from orbitflow.results.run_folder import RunFolder
from orbitflow.scenario import build_scenario


def run_simulation(
    config: RunConfig, out: Path | None, *, as_json: bool, quiet: bool, bounded: bool = False
) -> None:
    """Simulate and leave a run folder behind, with shares of the upper bound if `bounded`."""
    talks = not (quiet or as_json)
    started, began_s = now(), time.perf_counter()
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
    try:
        with RequestProgress(len(scenario.trace), shown=talks) as progress:
            ran = run_in_folder(
                scenario,
                folder,
                bounded=bounded,
                started=started,
                began_s=began_s,
                watch=PolicyProgress(progress.begin, progress.advance),
            )
    except BaseException:
        print(f"orbitflow: unfinished results are in {folder.path}", file=sys.stderr)
        raise
    if as_json:
        print(json.dumps(ran.content, indent=2, allow_nan=False))
    else:
        from orbitflow.cli.tables import print_results

        print_results(scenario, ran.reports, folder.path, ran.bound)
