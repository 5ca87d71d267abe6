"""From a model and a machine to a profile: measure, fit, judge, and state what was assumed.

    capacity -> rounds over decode, prefill and link -> fits -> planner -> sealed profile

After Ctrl-C it makes a profile of the points so far if every curve has enough of them, and the
profile says so.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import NamedTuple

import torch

from orbitflow import __version__
from orbitflow.backend.machine import BackendMachine
from orbitflow.backend.model.checkpoint import LoadedModel
from orbitflow.backend.model.decoder import Decoder
from orbitflow.calibrate.bench import Bench
from orbitflow.calibrate.capacity import Capacity, find_capacity
from orbitflow.calibrate.compute_tasks import decode_tasks, host_fit, outside_task, prefill_tasks
from orbitflow.calibrate.fit_all import Fits, fit_all, is_enough, lacking, notices_of
from orbitflow.calibrate.link import link_tasks, slowdown_tasks
from orbitflow.calibrate.planner_time import planner_latency_s
from orbitflow.calibrate.runner import Samples, SweepPoint, Told, run_tasks
from orbitflow.calibrate.sweep import Sweep
from orbitflow.errors import UserError
from orbitflow.machine.cost import CostModel
from orbitflow.machine.line_passes import LinePasses
from orbitflow.machine.profile import PLANNER_LATENCY_S, HostFit, Profile, Provenance, sealed

_POOL_BYTES = 64 * 2**20  # of host memory to copy from and to
_LEAST_POOL_PAGES = 64
Keep = Callable[[tuple[SweepPoint, ...]], object]


class Calibration(NamedTuple):
    """A profile, and notices about how it was measured."""

    profile: Profile
    notices: tuple[str, ...]
    was_interrupted: bool = False


class _Extras(NamedTuple):
    """What is measured beside the curves, and whether the calibration was interrupted."""

    host: HostFit | None
    planner_s: float
    interrupted: bool


def calibrate(
    model: LoadedModel,
    machine: BackendMachine,
    sweep: Sweep,
    *,
    model_name: str,
    told: Told | None = None,
    kv_capacity_tokens: int | None = None,
    seed: int = 0,
    date: str = "not stated",
    keep: Keep | None = None,
    salvage: bool = True,
) -> Calibration:
    """Measure a machine. `told` gets what is measured, the tasks done and the tasks in all.

    Raise a KeyboardInterrupt if one comes before every curve has enough points, or if `salvage` is
    false; `keep` gets the points so far first. Raise a UserError if memory is too small.
    """
    if told is not None:
        told("the device's memory", 0, 1)
    decoder = machine.decoder(model)
    capacity = find_capacity(model, machine, decoder, kv_capacity_tokens)
    pool_pages = max(_LEAST_POOL_PAGES, _POOL_BYTES // machine.shape(decoder).page_bytes)
    samples, notices = Samples(), list[str]()
    bench = Bench(decoder, machine, capacity.tokens, pool_pages)
    try:
        host, interrupted = None, False
        try:
            for notice in _measured(bench, sweep, samples, seed, told):
                notices.append(notice)
            host = host_fit(bench)
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt) and salvage and is_enough(samples)
            if not interrupted:
                if keep is not None and samples.points():
                    keep(samples.points())
                raise
        if not is_enough(samples):
            raise UserError(
                f"{capacity.tokens:,} tokens of KV leave too few points to measure "
                f"{', '.join(lacking(samples))}: raise --kv-capacity-tokens, or take another model"
            )
        fits, planner_s = fit_all(samples, seed), PLANNER_LATENCY_S
        if not interrupted:
            try:
                planner_s = planner_latency_s(
                    _cost(fits, bench), bench.limits, sweep.plans, bench.clock, seed
                )
            except KeyboardInterrupt:
                if not salvage:
                    raise
                interrupted = True
    finally:
        bench.close()
    notices += notices_of(fits, decoder.block_rows)
    extras = _Extras(host, planner_s, interrupted)
    origin = _provenance(machine, sweep, model_name, date)
    profile = _profile(model, decoder, machine, capacity, fits, extras, origin)
    return Calibration(sealed(profile), tuple(notices), interrupted)


def _measured(
    bench: Bench, sweep: Sweep, samples: Samples, seed: int, told: Told | None
) -> Iterator[str]:
    """Measure all curves into `samples`; yield notices."""
    if told is not None:
        told("warming up", 0, 1)
    tasks = list(
        chain(
            prefill_tasks(bench, sweep),
            decode_tasks(bench, sweep),
            [outside_task(bench)],
            link_tasks(bench, sweep),
            slowdown_tasks(bench, sweep),
        )
    )
    yield from run_tasks(
        tasks,
        samples,
        rounds=sweep.rounds,
        budget_s=sweep.budget_s,
        clock=bench.clock,
        seed=seed,
        told=told,
    )


def _cost(fits: Fits, bench: Bench) -> CostModel:
    """The cost model that planners would be given."""
    return CostModel(
        layers=bench.limits.layers,
        page_tokens=bench.limits.page_tokens,
        page_bytes=bench.shape.page_bytes,
        passes=LinePasses(fits.decode, fits.prefill),
        h2d=fits.h2d,
        d2h=fits.d2h,
        link_slowdown=fits.link_slowdown,
    )


def _provenance(machine: BackendMachine, sweep: Sweep, model_name: str, date: str) -> Provenance:
    python = platform.python_version()
    return Provenance(
        device=machine.name,
        model=model_name,
        date=date,
        software=f"orbitflow {__version__}, torch {torch.__version__}, Python {python}",
        method="measured",
        source=f"orbitflow calibrate, preset {sweep.name}",
    )


def _profile(
    model: LoadedModel,
    decoder: Decoder,
    machine: BackendMachine,
    capacity: Capacity,
    fits: Fits,
    extras: _Extras,
    origin: Provenance,
) -> Profile:
    spec = model.architecture.spec
    return Profile(
        name=_slug(f"{'cpu' if machine.is_cpu else machine.name}-{spec.name}"),
        model=spec,
        gpu_memory_bytes=capacity.device_bytes,
        gpus=1,
        weight_bytes=spec.weight_bytes,
        page_tokens=machine.page_tokens,
        decode=fits.decode,
        prefill=fits.prefill,
        h2d=fits.h2d,
        d2h=fits.d2h,
        link_slowdown=fits.link_slowdown,
        host=extras.host,
        planner_latency_s=extras.planner_s,
        host_memory_bytes=None,
        provenance=origin,
        errors=tuple(judged.error for judged in fits.judged),
        simplified=tuple(_simplified(decoder, machine, capacity, fits, extras.interrupted)),
        measured_kv_tokens=capacity.tokens,
        pass_noise=fits.pass_noise,
        points=tuple(chain.from_iterable(judged.points for judged in fits.judged)),
    )


def _simplified(
    decoder: Decoder, machine: BackendMachine, capacity: Capacity, fits: Fits, interrupted: bool
) -> Iterator[str]:
    if interrupted:
        yield "interrupted: fewer repeats than planned; planner_latency_s: 5 ms, not measured"
    yield capacity.origin
    yield f"decode: rows are computed in blocks of {decoder.block_rows}; the fit is a line"
    if machine.is_cpu:
        yield "gpu_memory_bytes: made up to agree with the KV capacity"
    if fits.both_ways is not None:
        yield (
            "link: the directions are taken for independent; with both busy the slower one kept "
            f"{fits.both_ways:.0%} of its rate"
        )


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")
