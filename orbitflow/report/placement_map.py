"""The placement heat map: whose KV of which layer lies where, after any decision of a policy.

The page's script draws the decision that its slider stands at from `frames`: per decision its time,
its pass, what it did, and rows [request, fate, set of layers], sets being numbered in `sets`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from orbitflow.arrays import FloatArray
from orbitflow.placement import HostLayers
from orbitflow.report.chart import Chart, to_spec
from orbitflow.report.read_files import LoggedDecision
from orbitflow.report.theme import Series
from orbitflow.units import format_seconds

MOST_FRAMES = 200
MOST_ROWS = 64  # requests
_WIDTH = 880
_PLACES = ("GPU", "host", "parked, on the GPU", "parked, on the host", "dropped")
_COLORS = tuple(f"var(--place-{number})" for number in range(len(_PLACES)))


class PlacementHistory:
    """All decisions of a policy walked through once: frames for the map, times of re-plans."""

    def __init__(
        self, decisions: Sequence[LoggedDecision], requests: Mapping[str, FloatArray], layers: int
    ) -> None:
        self.replans_s: list[float] = []
        self.frames: list[dict[str, Any]] = []
        self.sets: dict[HostLayers, int] = {}
        self.most_rows = 0
        shown = evenly(len(decisions), MOST_FRAMES)
        for frame in frames(decisions, requests, layers):
            if frame.moved:
                self.replans_s.append(frame.decision.t_s)
            if frame.number in shown:
                self.frames.append(self._of(frame))

    def _of(self, frame: Frame) -> dict[str, Any]:
        decision = frame.decision
        rows = [
            [request_id, int(held.fate), self.sets.setdefault(held.host_layers, len(self.sets))]
            for request_id, held in sorted(frame.held.items())
        ]
        self.most_rows = max(self.most_rows, len(rows))
        acts = (
            ("admits", decision.admit),
            ("parks", decision.park),
            ("drops", decision.drop),
            ("resumes", decision.resume),
        )
        does = [f"{verb} {_names(ids)}" for verb, ids in acts if ids]
        if frame.moved:
            does.append("moves layers")
        return {
            "n": frame.number + 1,
            "t": format_seconds(decision.t_s),
            "pass": decision.passes,
            "does": ", ".join(does),
            "rows": rows[:MOST_ROWS],
            "more": max(0, len(rows) - MOST_ROWS),
        }


def _names(ids: Sequence[int], most: int = 6) -> str:
    shown = ", ".join(str(i) for i in ids[:most])
    return shown if len(ids) <= most else f"{shown} and {len(ids) - most} more"


def heat_map(
    series: Series,
    history: PlacementHistory,
    decisions: int,
    requests: Mapping[str, FloatArray],
) -> Chart | None:
    """The map of one policy; None where it never decided anything."""
    if not history.frames:
        return None
    layers = series.run.summary["profile"]["layers"]
    used = {row[0] for frame in history.frames for row in frame["rows"]}
    prompts = {
        str(int(i)): int(tokens)
        for i, tokens in zip(requests["id"], requests["prompt_tokens"], strict=True)
        if int(i) in used
    }
    notes = [
        "A row is a request, with its prompt tokens in brackets, a column a layer. Shown is where "
        "the decision wants KV to lie; moves take their time, and the partial tail page is always "
        "on the GPU"
    ]
    if decisions > len(history.frames):
        notes.append(f"{len(history.frames)} of {decisions:,} decisions, evenly chosen")
    if history.most_rows > MOST_ROWS:
        notes.append(f"at most {MOST_ROWS} requests are shown, in order of arrival")
    extra = {
        "frames": history.frames,
        "sets": [list(layers) for layers in history.sets],
        "layers": layers,
        "places": list(_PLACES),
        "prompts": prompts,
        "first": _fullest(history.frames),
    }
    title = f"Placement under {series.name}"
    spec = {"description": title, **_form(layers)}
    return Chart(title, "; ".join(notes) + ".", spec, {"cells": {}}, extra)


@cache
def _form(layers: int) -> dict[str, Any]:
    """The specification, the same for all policies of a model."""
    import altair as alt

    drawn = (
        alt.Chart(alt.NamedData(name="cells"))
        .mark_rect(stroke="var(--paper)", strokeWidth=0.6, aria=False)
        .encode(
            x=alt.X(
                "layer:O",
                scale=alt.Scale(domain=list(range(layers))),
                axis=alt.Axis(labelAngle=0, labelOverlap=True, ticks=False, domain=False),
                title="layer",
            ),
            y=alt.Y(
                "request:N",
                sort=None,
                axis=alt.Axis(ticks=False, domain=False),
                title=None,
            ),
            fill=alt.Fill(
                "place:N",
                scale=alt.Scale(domain=list(_PLACES), range=list(_COLORS)),
                legend=alt.Legend(orient="top", title=None, symbolType="square"),
            ),
            tooltip=["request:N", "layer:O", "place:N"],
        )
        .properties(width=_WIDTH, height=alt.Step(14))
    )
    return to_spec(drawn)


def _fullest(found: Sequence[Mapping[str, Any]]) -> int:
    """Where the slider begins: the decision with the most requests here."""
    return max(range(len(found)), key=lambda n: (len(found[n]["rows"]) + found[n]["more"], -n))
