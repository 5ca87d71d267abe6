"""`timeline.json` is what Perfetto reads: checked against the trace event format."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

import orbitflow.timeline
from orbitflow.cli.sim_run import run_simulation
from orbitflow.config import Fidelity, RunConfig
from orbitflow.errors import UserError
from orbitflow.timeline import Span, Timeline


def check_schema(document: Any) -> list[dict[str, Any]]:
    """The JSON object form of the trace event format; returns the complete events."""
    assert isinstance(document["traceEvents"], list)
    complete = []
    for event in document["traceEvents"]:
        assert event["ph"] in {"X", "M"}
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert isinstance(event["name"], str)
        if event["ph"] == "M":
            assert isinstance(event["args"], dict)
            continue
        assert isinstance(event["ts"], int | float)
        assert event["ts"] >= 0
        assert event["dur"] >= 0
        complete.append(event)
    return complete


def written(tmp_path: Path, **options: Any) -> list[dict[str, Any]]:
    trace = tmp_path / "t.jsonl"
    rows = [(0, 900, 40), (300, 400, 60), (400, 700, 30), (9000, 100, 1)]
    trace.write_text(
        "".join(
            json.dumps({"timestamp": t, "input_length": i, "output_length": o}) + "\n"
            for t, i, o in rows
        )
    )
    config = RunConfig(
        trace=str(trace),
        policies=("static-3",),
        kv_capacity_tokens=1600,
        fidelity=Fidelity.LAYER,
        timeline=True,
        **options,
    )
    run_simulation(config, tmp_path / "run", as_json=False, quiet=True)
    return check_schema(json.loads((tmp_path / "run/static-3/timeline.json").read_text()))


def test_tracks_hold_one_thing_at_a_time(tmp_path: Path) -> None:
    events = written(tmp_path)
    tracks: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for event in events:
        tracks.setdefault((event["pid"], event["tid"]), []).append(event)
    assert {(1, 1), (1, 2), (1, 3)} <= tracks.keys()  # compute and both directions of the link
    for track in tracks.values():
        track.sort(key=lambda e: (e["ts"], e["dur"]))
        for a, b in itertools.pairwise(track):
            assert a["ts"] + a["dur"] <= b["ts"] + 1e-3  # a nanosecond


def test_every_request_has_a_life_without_gaps(tmp_path: Path) -> None:
    events = [e for e in written(tmp_path) if e["pid"] == 2]
    lives: dict[int, list[dict[str, Any]]] = {}
    for event in events:
        lives.setdefault(event["tid"], []).append(event)
    assert len(lives) == 4
    for life in lives.values():
        life.sort(key=lambda e: (e["ts"], e["dur"]))
        assert life[0]["name"] in {"waiting", "prefill"}
        assert {"prefill", "running"} <= {e["name"] for e in life}
        for a, b in itertools.pairwise(life):
            assert a["ts"] + a["dur"] == pytest.approx(b["ts"], abs=1e-3)


def test_a_full_file_is_whole_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orbitflow.timeline, "MAX_EVENTS", 3)
    out = io.StringIO()
    timeline = Timeline(out)
    for i in range(5):
        timeline.span(Span("compute", "layer 0", i, i + 0.5))
    timeline.close()
    document = json.loads(out.getvalue())
    assert len(check_schema(document)) == 3
    assert document["traceEvents"][-1]["args"] == {"complete": False, "full_at_s": 3}


def test_a_timeline_needs_layers() -> None:
    with pytest.raises(UserError, match="--fidelity layer"):
        RunConfig(trace="t", timeline=True)
