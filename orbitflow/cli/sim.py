"""`orbitflow sim`: one trace, one machine, several policies, one table."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orbitflow.cli.options import AsJson, Given, Quiet, RunOut, configured
from orbitflow.options import OUTPUT

if TYPE_CHECKING:
    from orbitflow.config import RunConfig


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
    workers: Annotated[
        int,
        typer.Option(
            help="Policies to simulate at a time, each in a process of its own. Default: one for "
            "every CPU. Results are the same.",
            min=0,
            show_default=False,
            hidden=True,
            rich_help_panel=OUTPUT,
        ),
    ] = 0,
    out: RunOut = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Simulate how KV-offloading policies would serve a trace, and compare them under SLOs.

    Example: orbitflow sim --trace azure_conv.jsonl --policy no-offload,dynamic
    """
    run_simulation(
        given.config(), out, bounded=bound, workers=workers, as_json=as_json, quiet=quiet
    )


def run_simulation(
    config: RunConfig,
    out: Path | None,
    *,
    as_json: bool,
    quiet: bool,
    bounded: bool = False,
    workers: int = 1,
) -> None:
    """Simulate and leave a run folder behind, with shares of the upper bound if `bounded`. As many
    policies as there are `workers` run at a time; 0 stands for the CPUs.
    """
    from orbitflow.api.simulate import now, run_in_folder
    from orbitflow.cli.progress import RequestProgress, usable_cpus
    from orbitflow.results.run_folder import RunFolder
    from orbitflow.scenario import build_scenario

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
                told=progress.at,
                workers=workers or usable_cpus(),
            )
    except BaseException:
        print(f"orbitflow: unfinished results are in {folder.path}", file=sys.stderr)
        raise
    if as_json:
        print(json.dumps(ran.content, indent=2, allow_nan=False))
    else:
        from orbitflow.cli.tables import print_results

        print_results(scenario, ran.reports, folder.path, ran.bound)
