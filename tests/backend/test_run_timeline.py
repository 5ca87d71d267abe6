"""`timeline.json` of a run: the simulator's form, measured, and both side by side."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference.commands import Invoke, invoker, write_trace
from reference.cpu_profile import write_cpu_profile
from reference.timelines import (
    COMPUTE,
    DOWN,
    PLANNER,
    UP,
    check_counters,
    check_lives,
    check_tracks,
    read_timeline,
)

pytest.importorskip("torch", reason="the backend needs torch")

import orbitflow.results.timeline
from orbitflow.backend.driver import Driver

REQUESTS = [(0.0, 60, 12), (40.0, 90, 8), (80.0, 30, 20), (90.0, 17, 1)]


@pytest.fixture(scope="module", autouse=True)
def modules_are_no_garbage() -> Iterator[None]:
    """Keep what is imported by now out of collections: a run collects after every policy."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Invoke:
    """`orbitflow run --timeline` of a small trace, device memory for a few pages, into out/."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    write_trace(tmp_path / "t.jsonl", REQUESTS)
    write_cpu_profile(tmp_path / "cpu.json", "tiny")
    orbitflow = invoker(monkeypatch, capfd)
    options = ("--trace", "t.jsonl", "--model", "tiny", "--profile", "cpu.json", "--out", "out")
    memory = ("--kv-capacity-tokens", "176", "--slo-tbt", "500ms")  # so slow a reader: a deposit
    return lambda *more: orbitflow("run", *options, *memory, "--timeline", *more)


def test_a_run_and_its_simulation_side_by_side(run: Invoke) -> None:
    names = ("static-1", "orbitflow")
    result = run(*(part for name in names for part in ("--policy", name)), "--validate")
    assert result.code == 0, result.err
    for name in names:
        shapes = []
        for folder in (Path("out") / name, Path("out/simulated") / name):
            timeline = read_timeline(folder)
            check_tracks(timeline)
            compute = {span["name"] for span in timeline.track(COMPUTE)}
            requests = {track for track in timeline.tracks if track[0] == 2}
            shapes.append((timeline.about["compute"], timeline.counters.keys(), requests, compute))
        assert shapes[0] == shapes[1]
        check_lives(read_timeline(Path("out") / name), Path("out") / name)
        check_counters(read_timeline(Path("out") / name), Path("out") / name)
    assert {COMPUTE, UP, DOWN} <= read_timeline(Path("out/simulated/static-1")).tracks
    measured = read_timeline(Path("out/static-1"))
    assert measured.about["source"] == "backend"
    assert measured.about["compute"] == "layer"
    assert {COMPUTE, UP, DOWN} <= measured.tracks
    assert {span["name"] for span in measured.track(COMPUTE)} == {f"layer {n}" for n in range(4)}
    assert all(span["name"].startswith(("layer", "resume")) for span in measured.track(UP))


def test_layers_lie_within_their_passes(run: Invoke) -> None:
    assert run("--policy", "static-1").code == 0
    timeline = read_timeline(Path("out/static-1"))
    steps = np.load("out/static-1/steps.npz")
    layers = timeline.track(COMPUTE)
    assert len(layers) == 4 * steps["passes"].sum()
    at = np.array([span["ts"] for span in layers])
    ends = at + np.array([span["dur"] for span in layers])
    step = np.searchsorted(steps["start_s"] * 1e6, at, side="right") - 1
    assert (ends <= steps["end_s"][step] * 1e6 + 1e-3).all()


def test_plans_are_shown_from_question_to_answer() -> None:
    """On the planner's thread, by the driver's clock."""
    from orbitflow.backend.clock import AlarmClock
    from orbitflow.backend.planner_thread import PlannerThread
    from orbitflow.results.timeline import Span
    from orbitflow.step import PlanAnswer, PlanRequest

    spans: list[Span] = []
    where: list[threading.Thread] = []

    def put(span: Span) -> None:
        spans.append(span)
        where.append(threading.current_thread())

    clock = AlarmClock()
    clock.start()
    planner = PlannerThread(lambda request: PlanAnswer(request.id, None), clock, put)
    planner.ask(PlanRequest(1, 0.0, None))
    answer = planner.take()
    planner.close()
    (span,) = spans
    assert (span.track, span.name) == ("planner", "plan")
    assert span.end_s - span.start_s == answer.latency_s
    assert where[0] is not threading.main_thread()
    assert PLANNER == (1, 4)


def test_an_interrupted_run_leaves_a_whole_file(
    run: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry_out = Driver._carry_out

    def interrupted(self: Any, step: Any) -> None:
        carry_out(self, step)
        if step.number == 4:
            self.interrupt()

    monkeypatch.setattr(Driver, "_carry_out", interrupted)
    assert run("--policy", "static-1").code != 0
    timeline = read_timeline(Path("out/static-1"))
    check_tracks(timeline)
    assert {span["name"] for span in timeline.complete if span["pid"] == 2} >= {"prefill"}


def test_the_file_ends_at_its_limit(run: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orbitflow.results.timeline, "MAX_EVENTS", 20)
    assert run("--policy", "static-1").code == 0
    events = json.loads(Path("out/static-1/timeline.json").read_text())["traceEvents"]
    assert sum(event["ph"] != "M" for event in events) == 20
    assert events[-1]["args"]["complete"] is False


def test_without_the_option_there_is_none(
    run: Invoke, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    orbitflow = invoker(monkeypatch, capfd)
    options = ("--trace", "t.jsonl", "--model", "tiny", "--profile", "cpu.json", "--out", "plain")
    assert orbitflow("run", *options, "--policy", "no-offload").code == 0
    assert not Path("plain/no-offload/timeline.json").exists()
