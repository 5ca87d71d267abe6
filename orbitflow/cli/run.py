"""`orbitflow run`: one trace on a real device, several policies, one table. Its workload, SLO and
planning options are those of `sim`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from orbitflow.cli.options import read_config, with_options_of_sim
from orbitflow.config import Replay

_BACKEND = "Backend"
_OUTPUT = "Output"
_SIMULATED = (  # what only a simulated machine can be told
    "fidelity",
    "timeline",
    "perturb",
    "link_scale",
    "compute_scale",
    "ring_extra",
    "model",
)


@with_options_of_sim(lambda name: name not in _SIMULATED, own_first=True)
def run_command(
    trace: Annotated[
        str,
        typer.Option(
            help="A trace file of a known format, or a known name; `demo` is made for two CPU "
            "cores.",
            rich_help_panel="Workload",
        ),
    ] = "demo",
    device: Annotated[
        str,
        typer.Option(
            help="cpu (one core plays the GPU, a paced copy thread the link), cuda or cuda:N.",
            rich_help_panel=_BACKEND,
        ),
    ] = Replay.device,
    model: Annotated[
        str,
        typer.Option(
            help="A Hugging Face model directory, or a preset or config.json with random weights.",
            rich_help_panel=_BACKEND,
        ),
    ] = Replay.model,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Compute and keep KV in float32, bfloat16 or float16. Default: the model's; "
            "float32 on a CPU.",
            rich_help_panel=_BACKEND,
        ),
    ] = Replay.dtype,
    profile: Annotated[
        str | None,
        typer.Option(
            help="The profile that policies plan with, made by `orbitflow calibrate`. Default: "
            "a quick measurement before the run, kept as profile.json in its folder.",
            rich_help_panel=_BACKEND,
        ),
    ] = None,
    link_bandwidth: Annotated[
        str | None,
        typer.Option(
            help="Rate of the emulated link, such as 0.4GB (per second, each way); cpu only. "
            "Default: 0.4GB, about what a core copies beside compute.",
            rich_help_panel=_BACKEND,
        ),
    ] = None,
    time_scale: Annotated[
        float,
        typer.Option(
            help="Real seconds per second of the trace: 0.1 replays it ten times as fast. Limits "
            "stay as they are.",
            rich_help_panel=_BACKEND,
        ),
    ] = Replay.time_scale,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Plan with a profile of another model or device.",
            rich_help_panel=_BACKEND,
        ),
    ] = Replay.force,
    validate: Annotated[
        bool,
        typer.Option(
            "--validate",
            help="Afterwards simulate the same requests with the same profile and show the errors; "
            "`orbitflow validate` does it later.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    timeline: Annotated[
        bool,
        typer.Option(
            "--timeline",
            help="Write timeline.json (its first 400,000 events) for Perfetto, in the form of "
            "`sim --timeline`; --validate writes the simulation's beside it.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="New folder for the results. Default: runs/<trace>-<n>.", rich_help_panel=_OUTPUT
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print only the summary, as JSON.", rich_help_panel=_OUTPUT),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Print only the table.", rich_help_panel=_OUTPUT),
    ] = False,
    **shared: Any,
) -> None:
    """Serve a trace for real, with a real model and real copies, and compare policies under SLOs.

    Prompts are random tokens of the trace's lengths; every policy gets the same ones. Needs the
    extra `torch` (pip).

    Example: orbitflow run --device cpu --policy orbitflow --policy no-offload
    """
    from orbitflow.backend.extra import require
    from orbitflow.units import parse_option, parse_rate

    require("torch", "safetensors")

    config = read_config({**shared, "trace": trace, "model": model, "profile": profile})
    config = replace(config, timeline=timeline)
    rate = parse_option("--link-bandwidth", link_bandwidth, parse_rate)
    replay = Replay(device, model, dtype, rate, time_scale, force)
    run_on_backend(config, replay, out, as_json=as_json, quiet=quiet, validates=validate)
