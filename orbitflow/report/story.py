"""A run's story: what one policy did over time, in panels that share their axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitflow.clock import FloatArray
from orbitflow.report.chart import Chart, Column, Columns, TimeUnit, chart, numbers
from orbitflow.report.deposits import deposits
from orbitflow.report.policy_files import Decision
from orbitflow.report.reading import ReportRun
from orbitflow.report.series import Series
from orbitflow.report.story_panels import STATES, TimeAxis, amount, area, stack, states
from orbitflow.report.timelines import BUCKETS, Band, timeline
from orbitflow.units import GIB, format_seconds

_NEAR = 4.0  # a capacity beyond so many times what is held would flatten its panel


def story(
    series: Series,
    steps: Mapping[str, npt.NDArray[Any]],
    requests: Mapping[str, FloatArray],
    decisions: Sequence[Decision],
    replans_s: Sequence[float],
) -> Chart | None:
    """The panels of one policy; None where nothing was ever run."""
    if not len(steps["start_s"]):
        return None
    lines = timeline(steps)
    edges = lines.edges_s
    span_s = float(edges[-1] - edges[0])
    bucket = format_seconds(span_s / BUCKETS)
    unit = TimeUnit(span_s)
    middle = numbers((edges[:-1] + edges[1:]) / 2 / unit.seconds)
    axis = TimeAxis(f"time, {unit.name}", *(float(e) / unit.seconds for e in (edges[0], edges[-1])))

    data: dict[str, Columns] = {
        "states": _states(middle, (lines.running, lines.parked, lines.waiting))
    }
    panels: list[Any] = [states(axis, "states", data["states"])]
    gpu_pages, host_pages = _capacities(series.run)
    for name, band, room in (
        ("GPU", lines.gpu_pages, gpu_pages),
        ("host", lines.host_pages, host_pages),
    ):
        panels.append(_kv(axis, middle, name, band, room, series.run.page_bytes / GIB, data))
    data["link"] = {"t": middle, "mean": numbers(lines.link_busy)}
    panels.append(area(axis, "link", "link to the GPU busy", data["link"], share=True))
    notes = [
        f"{lines.steps:,} steps in {BUCKETS} buckets of {bucket}: lines are means, the shade "
        "reaches up to the largest value. KV counts as held from when it is reserved. A re-plan is "
        f"a decision that moves layers of somebody who runs: {len(replans_s):,} of "
        f"{len(decisions):,} decisions"
    ]
    if series.policy.figures.get("deposit"):
        banked = deposits(requests, steps, decisions, edges[1:])
        data["bank"] = {"t": middle, "mean": numbers(banked.tokens)}
        title = "tokens in the deposit: generated, not yet due to the reader"
        panels.append(area(axis, "bank", title, data["bank"]))
        if banked.left_out:
            left = f"{banked.left_out:,} requests, which were prefilled more than once"
            notes.append(f"the deposit lacks {left}")
    counts, _ = np.histogram(np.array(replans_s), edges)
    data["plans"] = {"t": middle, "mean": numbers(counts)}
    panels.append(area(axis, "plans", f"re-plans per {bucket}", data["plans"], last=True))
    return chart(f"{series.name} over time", "; ".join(notes) + ".", stack(panels), data)


def _capacities(run: ReportRun) -> tuple[int, int | None]:
    """Pages that there is room for, on the GPU and on the host."""
    profile = run.summary["profile"]
    pages = profile["kv_capacity_tokens"] // profile["page_tokens"] * profile["layers"]
    return pages, profile.get("host_pages")


def _kv(
    axis: TimeAxis,
    middle: list[float | None],
    name: str,
    band: Band,
    room: int | None,
    gib: float,
    data: dict[str, Columns],
) -> Any:
    """A panel of KV held, in GiB; pages are `gib` each."""
    data[name] = _band(middle, band, gib)
    title = f"KV on the {name}, GiB"
    if room is None:
        return amount(axis, name, title, data[name], None, 0.0)
    if room > _NEAR * float(band.most.max()):
        return amount(axis, name, f"{title} (capacity {room * gib:,.3g})", data[name], None, 0.0)
    data[f"{name}-room"] = {"y": numbers([room * gib]), "text": ["capacity"]}
    return amount(axis, name, title, data[name], f"{name}-room", room * gib)


def _states(middle: Sequence[float | None], bands: Sequence[Band]) -> Columns:
    return {
        "t": [t for _ in bands for t in middle],
        "series": [name for name in STATES for _ in middle],
        "mean": [v for band in bands for v in numbers(band.mean)],
        "most": [v for band in bands for v in numbers(band.most)],
    }


def _band(middle: Column, band: Band, factor: float) -> Columns:
    return {"t": middle, "mean": numbers(band.mean * factor), "most": numbers(band.most * factor)}
