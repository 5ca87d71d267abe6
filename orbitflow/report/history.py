"""A run's story: what one policy did over time, in panels that share their axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from orbitflow.arrays import FloatArray
from orbitflow.report.chart import Chart, Column, Columns, TimeUnit, fill, numbers
from orbitflow.report.read_files import LoggedDecision
from orbitflow.report.read_runs import ReportRun
from orbitflow.report.theme import Series
from orbitflow.report.timelines import BUCKETS, Band, History, deposit_history, history
from orbitflow.units import GIB, format_seconds

_NEAR = 4.0  # a capacity beyond so many times what is held would flatten its panel


def story(
    series: Series,
    steps: Mapping[str, npt.NDArray[Any]],
    requests: Mapping[str, FloatArray],
    decisions: Sequence[LoggedDecision],
    replans_s: Sequence[float],
) -> Chart | None:
    """The panels of one policy; None where nothing was ever run."""
    if not len(steps["start_s"]):
        return None
    lines = history(steps, requests, decisions)
    edges = lines.edges_s
    span_s = float(edges[-1] - edges[0])
    bucket = format_seconds(span_s / BUCKETS)
    unit = TimeUnit(span_s)
    middle = numbers((edges[:-1] + edges[1:]) / 2 / unit.seconds)
    values: dict[str, Any] = {
        "@color": series.look.color,
        "@time": f"time, {unit.name}",
        "@first": float(edges[0]) / unit.seconds,
        "@last": float(edges[-1]) / unit.seconds,
        "@plans": f"re-plans per {bucket}",
        "@top-link": 1.0,
    }
    counts, _ = np.histogram(np.array(replans_s), edges)
    data: dict[str, Columns] = {
        "states": _states(middle, (lines.running, lines.parked, lines.waiting)),
        "link": {"t": middle, "mean": numbers(lines.link_busy)},
        "plans": {"t": middle, "mean": numbers(counts)},
    }
    _add_kv(values, data, middle, lines, series.run)
    caption = (
        f"{lines.steps:,} steps in {BUCKETS} buckets of {bucket}: lines are means, the shade "
        "reaches up to the largest value. KV counts as held from when it is reserved. A re-plan is "
        f"a decision that moves layers of somebody who runs: {len(replans_s):,} of "
        f"{len(decisions):,} decisions."
    )
    banks = bool(series.policy.figures.get("deposit"))
    if banks:
        banked = deposit_history(requests, steps, decisions, edges[1:])
        data["bank"] = {"t": middle, "mean": numbers(banked.tokens)}
        if banked.left_out:
            caption += f" The deposit lacks {banked.left_out:,} requests, prefilled more than once."
    values |= {f"@top-{name}": _top(data[name]) for name in data if f"@top-{name}" not in values}
    title = f"{series.name} over time"
    spec = {"description": title, **fill(story_form(banks=banks), values)}
    return Chart(title, caption, spec, data)


def _add_kv(
    values: dict[str, Any],
    data: dict[str, Columns],
    middle: Column,
    lines: History,
    run: ReportRun,
) -> None:
    """KV held on both sides in GiB, beside what there is room for."""
    gib = run.page_bytes / GIB
    profile = run.summary["profile"]
    gpu_pages = profile["kv_capacity_tokens"] // profile["page_tokens"] * profile["layers"]
    bands = (lines.gpu_pages, lines.host_pages)
    for name, band, room in zip(KV, bands, (gpu_pages, profile.get("host_pages")), strict=True):
        shown = room if room is not None and room <= _NEAR * band.most.max() else None
        far = "" if room is None or shown is not None else f" (capacity {room * gib:,.3g})"
        values[f"@{name}"] = f"KV on the {name}, GiB{far}"
        data[name] = _band(middle, band, gib)
        rooms = [] if shown is None else numbers([shown * gib])
        data[f"{name}-room"] = {"y": rooms, "text": ["capacity"] * len(rooms)}
        values[f"@top-{name}"] = max(_top(data[name]), 1.05 * (shown or 0) * gib)


def _states(middle: Sequence[float | None], bands: Sequence[Band]) -> Columns:
    return {
        "t": [t for _ in bands for t in middle],
        "series": [name for name in STATES for _ in middle],
        "mean": [v for band in bands for v in numbers(band.mean)],
        "most": [v for band in bands for v in numbers(band.most)],
    }


def _band(middle: Column, band: Band, factor: float) -> Columns:
    return {"t": middle, "mean": numbers(band.mean * factor), "most": numbers(band.most * factor)}


def _top(columns: Columns) -> float:
    """Where an axis from 0 ends: a little above the largest value, and above 0."""
    values = [v for v in columns.get("most", columns.get("mean", ())) if isinstance(v, int | float)]
    return 1.05 * max(values, default=0.0) or 1.0
