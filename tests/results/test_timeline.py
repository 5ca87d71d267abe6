"""`timeline.json` is what Perfetto reads, and true. What is the same of simulator and backend is
checked by `reference/timelines.py`.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.timelines import (
    COMPUTE,
    DOWN,
    UP,
    Checked,
    check_counters,
    check_lives,
    check_schema,
    check_tracks,
    read_timeline,
)

import orbitflow.results.timeline
from orbitflow.cli.sim import run_simulation
from orbitflow.config import DeliveryPace, Fidelity, RunConfig
from orbitflow.results.timeline import Origin, Span, Timeline
from orbitflow.results.timeline_tracks import UndeliveredTokens
from orbitflow.slo import deposit_tokens

ROWS = [(0, 900, 40), (300, 400, 60), (400, 700, 30), (9000, 100, 1)]
ORIGIN = Origin("simulation", "layer", "by hand", "none")


def simulated(tmp_path: Path, policy: str = "static-3", **options: Any) -> Checked:
    """The timeline of a small simulation, whose folder is run/POLICY."""
    trace = tmp_path / "t.jsonl"
    trace.write_text(
        "".join(
            json.dumps({"timestamp": t, "input_length": i, "output_length": o}) + "\n"
            for t, i, o in ROWS
        )
    )
    given: dict[str, Any] = {"kv_capacity_tokens": 1600, "fidelity": Fidelity.LAYER}
    given |= {"slo_tbt_s": 0.2} | options  # a slow reader, so that there is a deposit
    config = RunConfig(trace=str(trace), policies=(policy,), timeline=True, **given)
    run_simulation(config, tmp_path / "run", as_json=False, quiet=True)
    return read_timeline(tmp_path / "run" / policy)


def test_an_interrupted_simulation_leaves_a_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter, seen = Timeline.counter, []

    def interrupted(self: Timeline, *given: Any) -> None:
        counter(self, *given)
        seen.append(given)
        if len(seen) == 20:
            raise KeyboardInterrupt

    monkeypatch.setattr(Timeline, "counter", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulated(tmp_path)
    check_tracks(read_timeline(tmp_path / "run" / "static-3"))


@pytest.mark.parametrize("fidelity", list(Fidelity))
@pytest.mark.parametrize("policy", ["static-3", "preempt-recompute", "preempt-swap", "orbitflow"])
def test_a_simulation(tmp_path: Path, fidelity: Fidelity, policy: str) -> None:
    timeline = simulated(tmp_path, policy, fidelity=fidelity)
    check_tracks(timeline)
    check_lives(timeline, tmp_path / "run" / policy)
    check_counters(timeline, tmp_path / "run" / policy)
    assert timeline.about["source"] == "simulation"
    assert timeline.about["compute"] == ("layer" if fidelity is Fidelity.LAYER else "pass")


def test_layers_and_transfers_are_shown(tmp_path: Path) -> None:
    timeline = simulated(tmp_path)
    assert {COMPUTE, UP, DOWN} <= timeline.tracks
    assert {span["name"] for span in timeline.track(COMPUTE)} == {f"layer {n}" for n in range(32)}


def test_passes_are_those_of_the_steps(tmp_path: Path) -> None:
    timeline = simulated(tmp_path, fidelity=Fidelity.STEP)
    steps = np.load(tmp_path / "run/static-3/steps.npz")
    passes = timeline.track(COMPUTE)
    assert len(passes) == steps["passes"].sum()
    assert {span["name"] for span in passes} == {"prefill", "decode"}
    assert UP not in timeline.tracks
    busy = sum(span["dur"] for span in passes)
    assert busy == pytest.approx(1e6 * (steps["end_s"] - steps["start_s"]).sum())


def test_without_pace_there_is_no_deposit(tmp_path: Path) -> None:
    timeline = simulated(tmp_path, pace=DeliveryPace.IMMEDIATE)
    assert set(timeline.counters) == {"requests", "KV pages"}


@settings(derandomize=True, max_examples=80)
@given(
    gaps=st.lists(st.lists(st.sampled_from([0.0, 0.05, 0.1, 0.3, 1.7]), max_size=30), max_size=4),
    wait=st.floats(0.0, 5.0),
)
def test_the_deposit_is_what_is_generated_and_not_delivered(
    gaps: list[list[float]], wait: float
) -> None:
    """Against the delivery of every token; readers with different tau, made in one sequence."""
    deposits = UndeliveredTokens()
    tbt_limits_s = [0.1, 0.25, 1.0, 0.1]
    tokens = {r: np.cumsum([0.5 * r, *found]) for r, found in enumerate(gaps)}
    made = sorted((t, r, k) for r, times in tokens.items() for k, t in enumerate(times.tolist()))
    for now_s, request, number in made:
        if number:
            deposits.add((request,), now_s)
        else:
            deposits.open(request, tbt_limits_s[request], now_s)
    if not made:
        assert deposits.tokens(0.0, set()) == 0
        return
    now_s = made[-1][0] + wait
    near = {now_s - 1e-7, now_s + 1e-7}  # at the moment of a delivery either count is right
    wanted = {
        sum(deposit_tokens(times, tbt_limits_s[r], at) for r, times in tokens.items())
        for at in (*near, now_s)
    }
    gone = set(tokens)
    assert deposits.tokens(now_s, gone) in wanted
    assert deposits.tokens(now_s + 1e6, gone) == 0
    assert not gone  # everybody has it all, and is forgotten


def test_a_full_file_is_whole_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orbitflow.results.timeline, "MAX_EVENTS", 3)
    out = io.StringIO()
    timeline = Timeline(out, ORIGIN)
    timeline.counter("deposit", 0.0, {"tokens": 1})
    for i in range(5):
        timeline.span(Span("compute", "layer 0", i, i + 0.5))
    timeline.counter("deposit", 9.0, {"tokens": 2})
    timeline.close()
    document = json.loads(out.getvalue())
    found = check_schema(document)
    assert len(found.complete) == 2
    assert len(found.counters["deposit"]) == 1
    assert document["traceEvents"][-1]["args"] == {"complete": False, "full_at_s": 2}


def test_a_full_file_of_a_simulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orbitflow.results.timeline, "MAX_EVENTS", 100)
    timeline = simulated(tmp_path)
    assert len(timeline.complete) + sum(map(len, timeline.counters.values())) == 100
