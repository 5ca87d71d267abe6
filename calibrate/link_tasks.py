"""The link to be measured: each way alone, both at once, and decode beside a link that never rests.

h2d, d2h                   (bytes of a run)                 seconds per run
h2d beside d2h, ...        (bytes of a run)                 the same with the other way busy
idle link, busy link       (requests, context tokens)       seconds per decode pass
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from orbitflow.calibrate.bench import Bench
from orbitflow.calibrate.compute_tasks import decode_grid, middle, typical_s
from orbitflow.calibrate.link import D2H, H2D, Burst, BusyLink, LinkBench
from orbitflow.calibrate.runner import MeasureTask, Sample
from orbitflow.calibrate.sweep import Sweep

IDLE_LINK, BUSY_LINK = "idle link", "busy link"
_TURNS = 2
BESIDE = {H2D: "h2d beside d2h", D2H: "d2h beside h2d"}


def link_tasks(bench: Bench, sweep: Sweep) -> Iterator[MeasureTask]:
    """Every size of run each way, and the largest one both ways at once."""
    link = LinkBench(bench.plane, bench.clock)
    runs = sorted({run for run in sweep.runs if run <= link.longest_run} or {1})
    for direction in (H2D, D2H):
        for run in runs:
            label = f"{direction} in runs of {run} pages"
            yield MeasureTask(
                direction, run, label, partial(_alone, link, direction, run, sweep.link_s)
            )
    yield MeasureTask("both ways", runs[-1], "both ways at once", partial(_both, link, runs, sweep))


def slowdown_tasks(bench: Bench, sweep: Sweep) -> Iterator[MeasureTask]:
    """A few batches from small to large, each beside an idle and beside a busy link."""
    feeder = BusyLink(bench.plane, bench.clock)
    grid = sorted(decode_grid(bench, sweep), key=lambda batch: batch[0] * batch[1])
    parts = sweep.besides + 1
    picked = sorted({grid[len(grid) * part // parts] for part in range(1, parts)}) if grid else []
    for requests, context in picked:
        yield MeasureTask(
            BUSY_LINK,
            requests * context,
            f"decode of {requests} x {context} tokens beside a busy link",
            partial(_beside_link, bench, feeder, sweep, requests, context),
        )


def _alone(link: LinkBench, direction: str, run: int, least_s: float) -> Sequence[Sample]:
    return [_sample(direction, link.burst(direction, run, least_s))]


def _both(link: LinkBench, runs: Sequence[int], sweep: Sweep) -> Sequence[Sample]:
    up, down = link.both_ways(runs[-1], sweep.link_s)
    return [_sample(BESIDE[H2D], up), _sample(BESIDE[D2H], down)]


def _sample(curve: str, burst: Burst) -> Sample:
    return Sample(curve, (float(burst.run_bytes),), burst.seconds / burst.runs)


def _beside_link(
    bench: Bench, feeder: BusyLink, sweep: Sweep, requests: int, context: int
) -> Sequence[Sample]:
    """Idle and busy by turns, so that a machine that drifts treats both alike."""
    contexts, varied = [context] * requests, middle(requests, context, sweep.passes)
    idle_s: list[float] = []
    busy_s: list[float] = []
    for _ in range(_TURNS):
        idle = bench.decode(contexts, sweep.passes, most_s=sweep.decode_s)
        idle_s.append(typical_s(idle.pass_s.tolist()))
        ahead_s = 2 * idle_s[-1]
        try:
            busy = bench.decode(
                contexts,
                sweep.passes,
                most_s=sweep.decode_s,
                between=partial(feeder.feed, ahead_s),
            )
        finally:
            feeder.drain()
        busy_s.append(typical_s(busy.pass_s.tolist()))
    ratio = float(np.median(np.array(busy_s) / np.array(idle_s)))
    alone_s = float(np.median(idle_s))
    return [Sample(IDLE_LINK, varied, alone_s), Sample(BUSY_LINK, varied, alone_s * ratio)]
