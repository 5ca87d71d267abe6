"""The placement map: where the KV of every request lies, layer by layer, after any decision.

A decision with a window places all requests: running ones as its placement says, paused ones on the
host but for the layers that an exception keeps on the GPU. One without a window places only the
requests that it admits. A re-plan is a decision that moves layers of a request that was running
before. Shown is what the decision wants; moves take their time.

The page's script draws the decision that its slider stands at from `frames`: per decision its time,
its pass, what it did, and rows [request, state, set of layers], sets being numbered in `sets`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.placement import HostLayers
from orbitflow.report.chart import Chart, to_spec
from orbitflow.report.read_files import LoggedDecision
from orbitflow.report.theme import Series
from orbitflow.units import format_seconds

MOST_FRAMES = 200
MOST_ROWS = 64  # requests
_WIDTH = 880
_PLACES = ("GPU", "host", "paused, on the GPU", "paused, on the host", "dropped")
_COLORS = tuple(f"var(--place-{number})" for number in range(len(_PLACES)))


class PlacementHistory:
    """The frames of the map and the times of re-plans, from all decisions of a policy."""

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
            [request_id, int(held.state), self.sets.setdefault(held.host_layers, len(self.sets))]
            for request_id, held in sorted(frame.held.items())
        ]
        self.most_rows = max(self.most_rows, len(rows))
        acts = (
            ("admits", decision.admit),
            ("pauses", decision.pause),
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


def placement_map(
    series: Series,
    history: PlacementHistory,
    decisions: int,
    requests: Mapping[str, FloatArray],
) -> Chart | None:
    """The map of one policy; None where there is no decision."""
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
        "A row is a request, with its prompt tokens in brackets; a column is a layer. Shown is "
        "where the decision wants KV to lie; moves take their time, and the partial tail page is "
        "always on the GPU"
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
    """Where the slider begins: at the decision with the most requests."""
    return max(range(len(found)), key=lambda n: (len(found[n]["rows"]) + found[n]["more"], -n))


class KvState(IntEnum):
    """The state of an admitted request's KV."""

    RUNS = 0
    PAUSED = 1
    DROPPED = 2


class HeldKv(NamedTuple):
    """One request's KV, and which layers of it are on the host."""

    state: KvState
    host_layers: HostLayers


class Frame(NamedTuple):
    """The KV of all requests after one decision. `moved` says whether it was a re-plan."""

    number: int
    decision: LoggedDecision
    held: Mapping[int, HeldKv]
    moved: bool


def frames(
    decisions: Sequence[LoggedDecision], requests: Mapping[str, FloatArray], layers: int
) -> Iterator[Frame]:
    """Walk through all decisions. `held` is one dictionary that goes on changing."""
    everything = tuple(range(layers))
    order = np.argsort(requests["last_token_s"], kind="stable")  # those without an end come last
    ends = iter(zip(requests["last_token_s"][order], requests["id"][order], strict=True))
    next_end = next(ends, None)
    held: dict[int, HeldKv] = {}
    before: tuple[HostLayers, Mapping[int, HostLayers]] | None = None
    for number, decision in enumerate(decisions):
        while next_end is not None and next_end[0] <= decision.t_s:
            held.pop(int(next_end[1]), None)
            next_end = next(ends, None)
        _change_states(held, decision, everything)
        wanted = (decision.default, decision.exceptions)
        moved = False
        if decision.places_all and (wanted != before or decision.resume or decision.pause):
            moved = _place(held, decision, everything)
            before = wanted
        yield Frame(number, decision, held, moved)


def _change_states(
    held: dict[int, HeldKv], decision: LoggedDecision, everything: HostLayers
) -> None:
    for request_id in decision.pause:
        held[request_id] = HeldKv(KvState.PAUSED, everything)
    for request_id in decision.drop:
        held[request_id] = HeldKv(KvState.DROPPED, ())
    for request_id in (*decision.resume, *decision.admit):
        wanted = decision.exceptions.get(request_id, decision.default)
        held[request_id] = HeldKv(KvState.RUNS, wanted)


def _place(held: dict[int, HeldKv], decision: LoggedDecision, everything: HostLayers) -> bool:
    """Place every request as the decision wants; return whether layers of a running one move."""
    moved = False
    for request_id, (state, layers) in held.items():
        if state is KvState.DROPPED:
            continue
        other = decision.default if state is KvState.RUNS else everything
        wanted = decision.exceptions.get(request_id, other)
        if wanted != layers:
            moved = moved or state is KvState.RUNS
            held[request_id] = HeldKv(state, wanted)
    return moved


def evenly(count: int, most: int) -> set[int]:
    """At most `most` of the numbers below `count`, evenly spread, with the first and the last."""
    if count <= most:
        return set(range(count))
    return {round(i * (count - 1) / (most - 1)) for i in range(most)}
