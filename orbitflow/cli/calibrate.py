"""`orbitflow calibrate`: measure this machine with a model, and write what plans are made with."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orbitflow.cli.options import AsJson, Given, configured
from orbitflow.errors import UserError
from orbitflow.options import MACHINE, OUTPUT

if TYPE_CHECKING:
    from orbitflow.calibrate.calibration import Calibration
    from orbitflow.calibrate.runner import SweepPoint
    from orbitflow.config import Replay

_LEAST_SHARE = 0.75  # what sleeping on the paced link leaves on an idle machine is about 0.9


@dataclass(frozen=True, slots=True)
class Order:
    """What to measure beyond the device and its model, and what to leave behind."""

    kv_capacity_tokens: int | None
    quick: bool
    seed: int
    out: Path
    force: bool
    plot: Path | None


@configured(
    run=(),
    replay=("model", "dtype", "link_bytes_per_s"),
    shown=("model", "dtype", "link_bandwidth"),
)
def calibrate_command(
    given: Given,
    device: Annotated[
        str | None,
        typer.Option(
            help="cpu (one core plays the GPU, a paced copy thread the link), cuda or cuda:N. "
            "Default: cpu.",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    gpu: Annotated[
        int | None, typer.Option(help="Short for --device cuda:N.", rich_help_panel=MACHINE)
    ] = None,
    kv_capacity_tokens: Annotated[
        int | None,
        typer.Option(
            help="KV tokens that the device holds. Default: what its allocator gives; 4096 on a "
            "CPU.",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Fewer points, in a minute instead of up to a quarter hour."),
    ] = False,
    seed: Annotated[
        int, typer.Option(help="Of the order of points, those held out, and random weights.")
    ] = 0,
    out: Annotated[Path, typer.Option(help="The profile to write.", rich_help_panel=OUTPUT)] = Path(
        "profile.json"
    ),
    force: Annotated[
        bool,
        typer.Option("--force", help="Overwrite what is there.", rich_help_panel=OUTPUT),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw points against fits into this .svg, .pdf or .png file; needs matplotlib.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure passes, prompts and copies on this machine and write a profile.

    It runs the code that serves. Leave the machine alone meanwhile. Ctrl-C keeps what is there.
    Needs the extra `torch`.

    Example: orbitflow calibrate --device cpu --quick --out mine.json

    Example: orbitflow calibrate --gpu 0 --model llama-3-8b --out h100.json --plot h100.svg
    """
    from orbitflow.backend.extra import require

    require("torch", "safetensors")
    replay = given.backend(device=_device(device, gpu))
    order = Order(kv_capacity_tokens, quick, seed, out, force, plot)
    run_calibration(replay, order, as_json=as_json)


def _device(device: str | None, gpu: int | None) -> str:
    if gpu is None:
        return device or "cpu"
    if device is not None:
        raise UserError(f"--gpu {gpu} and --device {device}: give one of them")
    if gpu < 0:
        raise UserError(f"--gpu {gpu}: GPUs are counted from 0")
    return f"cuda:{gpu}"


def run_calibration(replay: Replay, order: Order, *, as_json: bool) -> None:
    """Measure and leave a profile behind. Raise a UserError for whatever cannot be done."""
    from orbitflow.backend.machine import find_machine
    from orbitflow.backend.model.checkpoint import load_model
    from orbitflow.calibrate.calibration import calibrate
    from orbitflow.calibrate.sweep import Sweep
    from orbitflow.cli.calibrate_view import plot_profile, print_calibration
    from orbitflow.cli.progress import Measuring
    from orbitflow.machine.profile import save

    _check(order)
    machine = find_machine(replay.device, replay.link_bytes_per_s)
    dtype = replay.dtype or ("float32" if machine.is_cpu else None)
    model = load_model(replay.model, machine.device, dtype, order.seed)
    if not as_json:
        print(f"calibrating {model.architecture.spec.name} on {machine.name}", file=sys.stderr)
    share = _CpuShare()
    with Measuring(shown=not as_json) as measuring, machine.computing():
        made = calibrate(
            model,
            machine,
            Sweep.QUICK if order.quick else Sweep.FULL,
            model_name=replay.model,
            told=measuring.told,
            kv_capacity_tokens=order.kv_capacity_tokens,
            seed=order.seed,
            date=datetime.now(UTC).date().isoformat(),
            keep=lambda points: _keep(order.out, points),
        )
    if machine.is_cpu and share.so_far < _LEAST_SHARE:
        made = made._replace(notices=(*made.notices, share.said))
    save(made.profile, order.out)
    if order.plot is not None:
        plot_profile(made.profile, order.plot)
    if as_json:
        print(json.dumps(_document(made, order.out), indent=2))
    else:
        print_calibration(made, order.out)
    if made.was_interrupted:
        raise KeyboardInterrupt


class _CpuShare:
    """How much of a core this process has had; a machine left alone gives nearly all of it."""

    def __init__(self) -> None:
        self._began = (time.process_time(), time.perf_counter())

    @property
    def so_far(self) -> float:
        """CPU time over real time."""
        cpu_s, real_s = self._began
        return (time.process_time() - cpu_s) / (time.perf_counter() - real_s)

    @property
    def said(self) -> str:
        """The notice."""
        return (
            f"only {self.so_far:.0%} of a core was to be had: others were running, so times are "
            "too long and scattered: calibrate again when the machine is idle"
        )


def _check(order: Order) -> None:
    """Refuse what would only fail after minutes."""
    from orbitflow.cli.calibrate_view import check_plot

    if order.plot is not None:
        check_plot(order.plot)
    for option, path in (("--out", order.out), ("--plot", order.plot)):
        if path is None:
            continue
        if path.exists() and not order.force:
            raise UserError(f"{option} {path} exists: name another file, or overwrite it (--force)")
        if path.is_dir():
            raise UserError(f"{option} {path} is a folder: name a file")
        if not path.parent.is_dir():
            raise UserError(f"{option} {path}: there is no folder {path.parent}: make it first")
        if not os.access(path.parent, os.W_OK):
            raise UserError(f"{option} {path}: {path.parent} cannot be written: name another")
    if order.seed < 0:
        raise UserError(f"--seed {order.seed} must be at least 0")
    tokens = order.kv_capacity_tokens
    if tokens is not None and tokens < 1:
        raise UserError(f"--kv-capacity-tokens {tokens} must be at least 1")


def _keep(out: Path, points: tuple[SweepPoint, ...]) -> None:
    """Write what was measured before the interruption; too little for a profile."""
    from orbitflow.codec import write_text

    path = out.with_name(out.name.removesuffix(".json") + ".partial.json")
    rows = [point._asdict() for point in points]
    write_text(path, json.dumps({"schema_version": 1, "points": rows}, indent=2) + "\n")
    print(f"orbitflow: too few points for a profile; those there are: {path}", file=sys.stderr)


def _document(made: Calibration, path: Path) -> dict[str, object]:
    profile = made.profile
    return {
        "path": str(path),
        "profile": profile.name,
        "kv_capacity_tokens": profile.kv_capacity_tokens(),
        "errors": [asdict(error) for error in profile.errors],
        "notices": list(made.notices),
    }
