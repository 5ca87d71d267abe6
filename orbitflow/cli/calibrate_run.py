"""What `orbitflow calibrate` does once its options are read: refuse early, measure, write, show."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orbitflow.backend.machine import find_machine
from orbitflow.backend.model.checkpoint import load_model
from orbitflow.calibrate.calibration import calibrate
from orbitflow.calibrate.runner import SweepPoint
from orbitflow.calibrate.sweep import Sweep
from orbitflow.cli.calibrate_view import Measuring, check_plot, plot_profile, print_calibration
from orbitflow.codec import write_text
from orbitflow.errors import UserError
from orbitflow.machine.profile import save

_LEAST_SHARE = 0.75  # what sleeping on the paced link leaves on an idle machine is about 0.9


@dataclass(frozen=True, slots=True)
class Order:
    """The options of the command."""

    device: str
    model: str
    dtype: str | None
    link_bytes_per_s: int | None
    kv_capacity_tokens: int | None
    quick: bool
    seed: int
    out: Path
    force: bool
    plot: Path | None


def run_calibration(order: Order) -> None:
    """Measure and leave a profile behind. Raise a UserError for whatever cannot be done."""
    _check(order)
    machine = find_machine(order.device, order.link_bytes_per_s)
    dtype = order.dtype or ("float32" if machine.is_cpu else None)
    model = load_model(order.model, machine.device, dtype, order.seed)
    print(f"calibrating {model.architecture.spec.name} on {machine.name}", file=sys.stderr)
    share = _CpuShare()
    with Measuring() as measuring, machine.computing():
        made = calibrate(
            model,
            machine,
            Sweep.QUICK if order.quick else Sweep.FULL,
            model_name=order.model,
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
    path = out.with_name(out.name.removesuffix(".json") + ".partial.json")
    rows = [point._asdict() for point in points]
    write_text(path, json.dumps({"schema_version": 1, "points": rows}, indent=2) + "\n")
    print(f"orbitflow: too few points for a profile; those there are: {path}", file=sys.stderr)
