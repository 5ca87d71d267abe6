"""What every `timeline.json` must be, whoever wrote it: checked against the trace event format and
against the other files of its run.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

COMPUTE, UP, DOWN, PLANNER, CPU = ((1, tid) for tid in range(1, 6))


class Checked(NamedTuple):
    """The events of a timeline that is one."""

    about: dict[str, Any]
    complete: list[dict[str, Any]]
    counters: dict[str, list[dict[str, Any]]]

    def track(self, track: tuple[int, int]) -> list[dict[str, Any]]:
        """The spans of one track in order."""
        spans = [e for e in self.complete if (e["pid"], e["tid"]) == track]
        return sorted(spans, key=lambda e: (e["ts"], e["dur"]))

    @property
    def tracks(self) -> set[tuple[int, int]]:
        """Tracks with something on them."""
        return {(e["pid"], e["tid"]) for e in self.complete}


def check_schema(document: Any) -> Checked:
    """The JSON object form of the trace event format, with what we say of ourselves."""
    about = document["otherData"]
    assert set(about) == {"schema_version", "source", "compute", "clock", "link"}
    assert about["schema_version"] == 1
    assert about["source"] in {"simulation", "backend"}
    assert about["compute"] in {"layer", "pass"}
    assert isinstance(document["traceEvents"], list)
    complete: list[dict[str, Any]] = []
    counters: dict[str, list[dict[str, Any]]] = {}
    for event in document["traceEvents"]:
        assert event["ph"] in {"X", "M", "C"}
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert isinstance(event["name"], str)
        if event["ph"] == "M":
            assert isinstance(event["args"], dict)
            continue
        assert isinstance(event["ts"], int | float)
        assert event["ts"] >= 0
        if event["ph"] == "C":
            assert all(isinstance(v, int) and v >= 0 for v in event["args"].values())
            counters.setdefault(event["name"], []).append(event)
            continue
        assert event["dur"] >= 0
        complete.append(event)
    names = {
        (e["pid"], e["tid"]): e["args"]["name"]
        for e in document["traceEvents"]
        if e["name"] == "thread_name"
    }
    assert names == {COMPUTE: "compute", UP: "H2D", DOWN: "D2H", PLANNER: "planner", CPU: "CPU"}
    assert document["traceEvents"][-1]["name"] == "is_complete"
    return Checked(about, complete, counters)


def read_timeline(path: Path) -> Checked:
    """The timeline of a policy's folder."""
    return check_schema(json.loads((path / "timeline.json").read_text()))


def check_tracks(timeline: Checked) -> None:
    """A track holds one thing at a time."""
    for track in timeline.tracks:
        for a, b in itertools.pairwise(timeline.track(track)):
            assert a["ts"] + a["dur"] <= b["ts"] + 1e-3, (track, a, b)  # a nanosecond


def check_lives(timeline: Checked, folder: Path) -> None:
    """Every request of the run has a life without gaps, from its arrival to its last token."""
    rows = [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]
    assert {tid for pid, tid in timeline.tracks if pid == 2} == {row["id"] + 1 for row in rows}
    for row in rows:
        life = timeline.track((2, row["id"] + 1))
        assert life[0]["name"] == "waiting"
        assert "prefill" in {span["name"] for span in life}
        for a, b in itertools.pairwise(life):
            assert a["ts"] + a["dur"] == pytest.approx(b["ts"], abs=1e-3)
        assert life[0]["ts"] == pytest.approx(row["arrival_s"] * 1e6, abs=1e-3)
        end = life[-1]["ts"] + life[-1]["dur"]
        assert end == pytest.approx(row["last_token_s"] * 1e6, abs=1e-3)


def check_counters(timeline: Checked, folder: Path) -> None:
    """Counters say what `steps.npz` says of the end of each step."""
    steps = np.load(folder / "steps.npz")
    assert set(timeline.counters) == {"deposit", "requests", "KV pages"}
    columns = {
        ("requests", "waiting"): "waiting",
        ("requests", "paused"): "parked",
        ("KV pages", "gpu"): "gpu_pages",
        ("KV pages", "host"): "host_pages",
    }
    for (name, key), column in columns.items():
        events = timeline.counters[name]
        at = np.array([event["ts"] for event in events])
        assert (np.diff(at) >= 0).all()
        last = np.searchsorted(at, steps["end_s"] * 1e6 + 1e-3, side="right") - 1
        assert (last >= 0).all()
        assert [events[i]["args"][key] for i in last] == steps[column].tolist()
    for events in timeline.counters.values():
        values = [event["args"] for event in events]
        assert all(a != b for a, b in itertools.pairwise(values))  # stands until it changes
    assert set(timeline.counters["requests"][0]["args"]) == {
        *("running", "prefill", "waiting", "paused")
    }
    assert max(event["args"]["tokens"] for event in timeline.counters["deposit"]) > 0
