"""`orbitflow calibrate`: measure this machine with a model, and write what plans are made with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_MACHINE = "Machine"
_OUTPUT = "Output"


def calibrate_command(
    device: Annotated[
        str | None,
        typer.Option(
            help="cpu (one core plays the GPU, a paced copy thread the link), cuda or cuda:N. "
            "Default: cpu.",
            rich_help_panel=_MACHINE,
        ),
    ] = None,
    gpu: Annotated[
        int | None, typer.Option(help="Short for --device cuda:N.", rich_help_panel=_MACHINE)
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="A Hugging Face model directory, or a preset or config.json with random weights.",
            rich_help_panel=_MACHINE,
        ),
    ] = "tiny-llama",
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Compute and keep KV in float32, bfloat16 or float16. Default: the model's; "
            "float32 on a CPU.",
            rich_help_panel=_MACHINE,
        ),
    ] = None,
    link_bandwidth: Annotated[
        str | None,
        typer.Option(
            help="Rate of the emulated link, such as 0.4GB/s, each way; cpu only.",
            rich_help_panel=_MACHINE,
        ),
    ] = None,
    kv_capacity_tokens: Annotated[
        int | None,
        typer.Option(
            help="KV tokens that the device holds. Default: what its allocator gives; 4096 on a "
            "CPU.",
            rich_help_panel=_MACHINE,
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Fewer points, in a minute instead of up to a quarter hour."),
    ] = False,
    seed: Annotated[
        int, typer.Option(help="Of the order of points, those held out, and random weights.")
    ] = 0,
    out: Annotated[
        Path, typer.Option(help="The profile to write.", rich_help_panel=_OUTPUT)
    ] = Path("profile.json"),
    force: Annotated[
        bool,
        typer.Option("--force", help="Overwrite what is there.", rich_help_panel=_OUTPUT),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw points against fits into this .svg, .pdf or .png file; needs matplotlib.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
) -> None:
    """Measure passes, prompts and copies on this machine and write a profile.

    It runs the code that serves. Leave the machine alone meanwhile. Ctrl-C keeps what is there.
    Needs the extra `torch`.

    Example: orbitflow calibrate --device cpu --quick --out mine.json

    Example: orbitflow calibrate --gpu 0 --model llama-3-8b --out h100.json --plot h100.svg
    """
    from orbitflow.backend.extra import require
    from orbitflow.units import parse_option, parse_rate

    require("torch", "safetensors")

    run_calibration(
        Order(
            device=_device(device, gpu),
            model=model,
            dtype=dtype,
            link_bytes_per_s=parse_option("--link-bandwidth", link_bandwidth, parse_rate),
            kv_capacity_tokens=kv_capacity_tokens,
            quick=quick,
            seed=seed,
            out=out,
            force=force,
            plot=plot,
        )
    )


def _device(device: str | None, gpu: int | None) -> str:
    from orbitflow.errors import UserError

    if gpu is None:
        return device or "cpu"
    if device is not None:
        raise UserError(f"--gpu {gpu} and --device {device}: give one of them")
    if gpu < 0:
        raise UserError(f"--gpu {gpu}: GPUs are counted from 0")
    return f"cuda:{gpu}"
