"""`orbitflow study capacity`: how much a machine takes, or how little it needs, for a target."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from orbitflow.cli.options import (
    AsJson,
    Quiet,
    StudyJitter,
    StudyOut,
    Workers,
    check_workers,
    read_config,
    with_options_of_sim,
)
from orbitflow.errors import UserError

_QUESTION = "Question"


@with_options_of_sim(lambda name: True)
def capacity_command(
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="What must hold: figure=value, a figure of summary.json by its dotted name, such "
            "as slo_attainment=0.95 or ttft_s.p95=2s. Shares have to reach it, times must not "
            "exceed it ('>=' and '<=' say otherwise). Repeat for several: all must hold.",
            rich_help_panel=_QUESTION,
        ),
    ] = None,
    vary: Annotated[
        str,
        typer.Option(
            help="rate-scale, gpu-memory, kv-capacity-tokens, host-memory, link-scale, "
            "compute-scale, context-scale, output-scale or slo-*. A bracket may follow: "
            "gpu-memory=16GiB..80GiB. Default: found by doubling and halving from the "
            "configuration's own value.",
            rich_help_panel=_QUESTION,
        ),
    ] = "rate-scale",
    tolerance: Annotated[
        str,
        typer.Option(
            help="How close the last value that met and the first that did not must come.",
            rich_help_panel=_QUESTION,
        ),
    ] = "2%",
    seeds: Annotated[
        int,
        typer.Option(
            help="Simulate every point with so many seeds, from --seed on. The mean decides; the "
            "seeds' own crossings give a 95 % interval.",
            rich_help_panel=_QUESTION,
        ),
    ] = 3,
    workers: Workers = None,
    arrival_jitter: StudyJitter = None,
    out: StudyOut = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    **base: Any,
) -> None:
    """Find the highest rate (smallest memory, slowest link) at which a target is still met.

    Brackets, then bisects, each policy for itself. SLOs stay those of the options as given. A study
    that was begun is gone on with by --out, also with another target or bracket.

    Example: orbitflow study capacity --trace demo --policy dynamic --target slo_attainment=0.95
    """
    from orbitflow.cli.progress import usable_cpus
    from orbitflow.study.capacity import plan_capacity
    from orbitflow.study.figures import read_targets

    check_workers(workers)
    question = plan_capacity(
        read_config(base),
        read_targets(target or ()),
        vary,
        seeds=seeds,
        arrival_jitter=arrival_jitter,
        tolerance=_share(tolerance),
    )
    run_capacity(question, out, workers=workers or usable_cpus(), as_json=as_json, quiet=quiet)


def _share(text: str) -> float:
    number = text.strip().removesuffix("%")
    try:
        value = float(number)
    except ValueError:
        raise UserError(f"--tolerance {text!r}: write a share such as 2% or 0.02") from None
    return value / 100 if text.strip().endswith("%") else value
