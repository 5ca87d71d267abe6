"""What is reconstructed of the past: requests by state, the deposit, where KV lay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitflow.arrays import FloatArray
from orbitflow.config import RunConfig
from orbitflow.policy.registry import policy_names
from orbitflow.report.placement_map import HeldKv, KvState, evenly, frames
from orbitflow.report.read_files import LoggedDecision, PolicyFiles
from orbitflow.report.timelines import deposit_history, history
from orbitflow.results.recorder import Recorder
from orbitflow.results.run_folder import RunFolder
from orbitflow.scenario import build_scenario
from orbitflow.sim.run import simulate_policy
from orbitflow.slo import deposit_tokens
from orbitflow.step import Events, Step, StepOutcome

NO_IDS: tuple[int, ...] = ()


def decision(
    t_s: float,
    *,
    passes: int = 0,
    admit: Sequence[int] = NO_IDS,
    pause: Sequence[int] = NO_IDS,
    drop: Sequence[int] = NO_IDS,
    resume: Sequence[int] = NO_IDS,
    default: tuple[int, ...] = (),
    exceptions: Mapping[int, tuple[int, ...]] | None = None,
    window: int | None = 8,
    gpu_pages: int = 0,
) -> LoggedDecision:
    ids = (tuple(admit), tuple(pause), tuple(drop), tuple(resume))
    return LoggedDecision(t_s, passes, *ids, default, exceptions or {}, window, gpu_pages, 0)


def columns(**values: Sequence[float]) -> dict[str, FloatArray]:
    return {name: np.array(column, dtype=np.float64) for name, column in values.items()}


def steps(*rows: tuple[float, float, int, int, float]) -> dict[str, npt.NDArray[Any]]:
    """Rows of start, end, passes, decoding, link busy."""
    start, end, passes, decoding, busy = zip(*rows, strict=True)
    return {
        "start_s": np.array(start),
        "end_s": np.array(end),
        "passes": np.array(passes),
        "decoding": np.array(decoding),
        "link_busy_s": np.array(busy),
        "gpu_pages": np.array([10 * (n + 1) for n in range(len(rows))]),
        "host_pages": np.zeros(len(rows), dtype=int),
    }


# -- the deposit ----------------------------------------------------------------------------------


def test_a_deposit_by_hand() -> None:
    """Tokens at 0, 1, 2, 3 and, after a pause from 3 to 6, at 7; one is due every 2 s:
    delivered at 0, 2, 4, 6, 8."""
    requests = columns(
        id=[4], first_token_s=[0.0], last_token_s=[7.0], output_tokens=[5], slo_tbt_s=[2.0]
    )
    made = steps((-1.0, 0.0, 0, 0, 0.0), (0.0, 3.0, 3, 1, 0.0), (6.0, 7.0, 1, 1, 0.0))
    decisions = [decision(3.0, passes=3, pause=[4]), decision(6.0, passes=3, resume=[4])]
    found = deposit_history(
        requests, made, decisions, np.array([0.5, 1.5, 2.5, 3.5, 6.5, 7.5, 8.5])
    )
    assert found.tokens.tolist() == [0, 1, 1, 2, 0, 1, 0]
    assert found.left_out == 0


def test_who_cannot_be_followed_is_counted() -> None:
    requests = columns(
        id=[0, 1], first_token_s=[0.0, np.nan], last_token_s=[3.0, np.nan],
        output_tokens=[9, 1], slo_tbt_s=[1.0, 1.0],
    )  # fmt: skip
    found = deposit_history(requests, steps((0.0, 3.0, 3, 1, 0.0)), [], np.array([1.0]))
    assert found.tokens.tolist() == [0]
    assert found.left_out == 1


class _Watched(Recorder):
    """Keeps every token time of everybody."""

    times: dict[int, tuple[FloatArray, float]]

    def stepped(self, step: Step, outcome: StepOutcome, events: Events) -> None:
        super().stepped(step, outcome, events)
        for done in events.finished:
            tbt_limit_s = self._slo.tbt_limit_of(done.request)
            self.times[done.request.id] = (done.token_times_s, tbt_limit_s)


@pytest.mark.parametrize("policy", ["no-offload", "orbitflow", "orbit", "preempt-swap"])
def test_deposits_are_what_the_tokens_say(
    policy: str, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the slow way, with every token's time. Passes of a step hardly differ in length, so
    no count is off by more than one token of each request or 3 %."""
    monkeypatch.setattr("orbitflow.session.Recorder", _Watched)
    monkeypatch.setattr(_Watched, "times", {}, raising=False)
    assert policy in policy_names()
    config = RunConfig(
        trace=str(folders / "tiny.jsonl"),
        policies=(policy,),
        kv_capacity_tokens=9000,
        output_scale=20.0,
    )
    scenario = build_scenario(config)
    simulate_policy(scenario, policy, RunFolder(tmp_path / "run"), lambda done: None)
    files = PolicyFiles(tmp_path / "run" / policy)
    made = files.steps()
    at = np.append(np.linspace(0.0, float(made["end_s"][-1]) + 5.0, 300), 1e6)
    decisions = files.decisions()
    assert policy != "preempt-swap" or any(d.pause for d in decisions)
    found = deposit_history(files.requests, made, decisions, at)
    assert found.left_out == 0
    for time_s, tokens in zip(at, found.tokens, strict=True):
        here = [
            deposit_tokens(times[times <= time_s], tbt_limit_s, time_s)
            for times, tbt_limit_s in _Watched.times.values()
            if times[0] <= time_s
        ]
        assert tokens == pytest.approx(sum(here), rel=0.03, abs=len(here))
    assert found.tokens.max() > 5
    assert found.tokens[-1] == 0


# -- requests and KV over time --------------------------------------------------------------------


def test_a_history_by_hand() -> None:
    made = steps((0.0, 4.0, 4, 1, 1.0), (4.0, 8.0, 4, 2, 4.0))
    requests = columns(
        arrival_s=[0.0, 1.0, 2.0], admitted_s=[0.0, 4.0, np.nan], last_token_s=[8.0, 8.0, np.nan]
    )
    decisions = [
        decision(0.0, gpu_pages=12),
        decision(4.0, pause=[0], gpu_pages=14),
        decision(6.0, resume=[0], gpu_pages=16),
    ]
    found = history(made, requests, decisions, buckets=4)
    assert found.edges_s.tolist() == [0, 2, 4, 6, 8]
    assert found.running.mean.tolist() == [1, 1, 1, 2]
    assert found.paused.mean.tolist() == [0, 0, 1, 0]
    assert found.waiting.mean.tolist() == [0.5, 1, 0, 0]
    assert found.waiting.most.tolist() == [1, 1, 0, 0]
    assert found.gpu_pages.mean.tolist() == [12, 12, 14, 16]
    assert found.link_busy.tolist() == [0.25, 0.25, 1, 1]
    assert found.steps == 2


spans = st.lists(
    st.tuples(st.floats(0.001, 50), st.floats(0, 20), st.floats(0, 1)), min_size=1, max_size=30
)


@given(spans, st.integers(1, 50))
def test_buckets_lose_nothing(parts: list[tuple[float, float, float]], buckets: int) -> None:
    """The link's busy seconds are the same over buckets as over steps; no mean beats its most."""
    rows, now_s = [], 0.0
    for length_s, gap_s, share in parts:
        rows.append((now_s, now_s + length_s, 1, 1, share * length_s))
        now_s += length_s + gap_s
    made = steps(*rows)
    nobody = columns(arrival_s=[], admitted_s=[], last_token_s=[])
    found = history(made, nobody, [], buckets=buckets)
    busy_s = float((found.link_busy * np.diff(found.edges_s)).sum())
    assert busy_s == pytest.approx(float(made["link_busy_s"].sum()), abs=1e-6)
    assert (found.gpu_pages.most >= found.gpu_pages.mean).all()
    assert not found.running.most.any()


# -- where KV lies --------------------------------------------------------------------------------


def walk(
    decisions: Sequence[LoggedDecision], ends_s: Mapping[int, float], layers: int = 4
) -> list[tuple[dict[int, HeldKv], bool]]:
    requests = columns(id=list(ends_s), last_token_s=list(ends_s.values()))
    return [(dict(f.held), f.moved) for f in frames(decisions, requests, layers)]


def test_placements_by_hand() -> None:
    everything = (0, 1, 2, 3)
    found = walk(
        [
            decision(0.0, admit=[0, 1], exceptions={1: (3,)}),
            decision(1.0, default=(1, 3)),
            decision(2.0, default=(1, 3), pause=[1], exceptions={1: (2, 3)}),
            decision(3.0, default=(1, 3), exceptions={1: (2, 3)}, drop=[0], admit=[2]),
            decision(4.0, resume=[1, 0]),
            decision(9.0),
        ],
        {0: 9.0, 1: 20.0, 2: 5.0},
    )
    assert found == [
        ({0: HeldKv(KvState.RUNS, ()), 1: HeldKv(KvState.RUNS, (3,))}, False),
        ({0: HeldKv(KvState.RUNS, (1, 3)), 1: HeldKv(KvState.RUNS, (1, 3))}, True),
        ({0: HeldKv(KvState.RUNS, (1, 3)), 1: HeldKv(KvState.PAUSED, (2, 3))}, False),
        (
            {
                0: HeldKv(KvState.DROPPED, ()),
                1: HeldKv(KvState.PAUSED, (2, 3)),
                2: HeldKv(KvState.RUNS, (1, 3)),
            },
            False,
        ),
        (
            {0: HeldKv(KvState.RUNS, ()), 1: HeldKv(KvState.RUNS, ()), 2: HeldKv(KvState.RUNS, ())},
            True,
        ),
        ({1: HeldKv(KvState.RUNS, ())}, False),
    ]
    paused = walk([decision(0.0, admit=[0]), decision(1.0, pause=[0])], {0: 2.0})
    assert paused[1] == ({0: HeldKv(KvState.PAUSED, everything)}, False)


def test_without_a_window_only_newcomers_are_placed() -> None:
    found = walk(
        [
            decision(0.0, admit=[0], default=(1,), window=None),
            decision(1.0, admit=[1], default=(2,), window=None),
        ],
        {0: 5.0, 1: 5.0},
    )
    assert found[1] == ({0: HeldKv(KvState.RUNS, (1,)), 1: HeldKv(KvState.RUNS, (2,))}, False)


@given(st.integers(0, 1000), st.integers(2, 50))
def test_some_of_many_are_spread_evenly(count: int, most: int) -> None:
    found = sorted(evenly(count, most))
    assert len(found) == min(count, most)
    assert len(found) == 0 or (found[0], found[-1]) == (0, count - 1)
    if count > most:
        gaps = np.diff(found)
        assert gaps.max() - gaps.min() <= 1
