"""Calibration of this very machine, as small as can be, and what comes of disturbing it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from torch import Tensor  # noqa: E402

from orbitflow.backend.machine import BackendMachine, find_machine  # noqa: E402
from orbitflow.backend.model.checkpoint import LoadedModel, load_model  # noqa: E402
from orbitflow.backend.model.decoder import Decoder  # noqa: E402
from orbitflow.calibrate import calibration  # noqa: E402
from orbitflow.calibrate.bench import Bench  # noqa: E402
from orbitflow.calibrate.calibration import Calibration, calibrate  # noqa: E402
from orbitflow.calibrate.runner import (
    SweepPoint,
    Told,
)
from orbitflow.calibrate.sweep import Sweep  # noqa: E402
from orbitflow.errors import UserError  # noqa: E402
from orbitflow.machine.cost import CostModel  # noqa: E402
from orbitflow.machine.profile import (  # noqa: E402
    is_edited,
    load,
    save,
)

ONE_ROUND = replace(Sweep.TINY, rounds=1)
UNHURRIED = replace(Sweep.TINY, budget_s=1e9)


@pytest.fixture(scope="module")
def machine() -> Iterator[BackendMachine]:
    threads = torch.get_num_threads()
    yield find_machine("cpu", 1e9)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model(machine: BackendMachine) -> LoadedModel:
    return load_model("tiny", machine.device)


@pytest.fixture
def bench(machine: BackendMachine, model: LoadedModel) -> Iterator[Bench]:
    bench = Bench(machine.decoder(model), machine, 2048, 64)
    yield bench
    bench.close()


def stop_at(count: int) -> Told:
    """Press Ctrl-C before so many measurements are done."""

    def told(label: str, done: int, total: int) -> None:
        if done == count and total > 1:
            raise KeyboardInterrupt

    return told


def test_it_makes_a_profile_that_predicts(
    machine: BackendMachine, model: LoadedModel, bench: Bench, tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    made = calibrate(
        model, machine, Sweep.TINY, model_name="tiny", told=lambda *w: told.append(w), date="today"
    )
    profile = made.profile
    save(profile, tmp_path / "p.json")
    assert load(tmp_path / "p.json") == profile
    assert not is_edited(profile)
    assert profile.kv_capacity_tokens() == profile.measured_kv_tokens == 4096
    assert abs(profile.kv_capacity_tokens(profile.gpu_memory_bytes) - 4096) <= 2 * 32
    origin = profile.provenance
    assert (origin.method, origin.date, origin.model) == ("measured", "today", "tiny")
    assert origin.device == machine.name
    assert f"torch {torch.__version__}" in origin.software
    assert {"decode", "prefill", "h2d", "d2h", "busy link"} == {e.curve for e in profile.errors}
    assert {p.curve for p in profile.points} == {e.curve for e in profile.errors}
    assert any(p.held_out for p in profile.points if p.curve == "decode")
    assert profile.host is not None
    assert profile.planner_latency_s > 0
    assert any("emulated device of 4096 tokens" in said for said in profile.simplified)
    assert told[-1][1] == told[-1][2]
    predicted = CostModel.from_profile(profile).decode_pass_s(2, 700)
    passes = [s for _ in range(5) for s in bench.decode([350, 350], 5).pass_s[1:]]
    assert 0.5 < predicted / sorted(passes)[len(passes) // 2] < 2


def test_a_smaller_device(machine: BackendMachine, model: LoadedModel) -> None:
    made = calibrate(model, machine, ONE_ROUND, model_name="tiny", kv_capacity_tokens=1000)
    assert made.profile.kv_capacity_tokens() == 992
    assert max(p.varied[1] for p in made.profile.points if p.curve == "decode") < 1000
    with pytest.raises(UserError, match="not one page of"):
        calibrate(model, machine, ONE_ROUND, model_name="tiny", kv_capacity_tokens=31)


def interrupted(
    machine: BackendMachine, model: LoadedModel, count: int, kept: list[SweepPoint]
) -> Calibration:
    return calibrate(
        model, machine, UNHURRIED, model_name="tiny", told=stop_at(count), keep=kept.extend
    )


def test_an_interruption_with_enough_points_makes_a_profile(
    machine: BackendMachine, model: LoadedModel
) -> None:
    kept: list[SweepPoint] = []
    made = interrupted(machine, model, 18, kept)
    assert kept == []
    assert made.profile.simplified[0].startswith("interrupted: ")


def test_an_interruption_with_too_few_points_keeps_them(
    machine: BackendMachine, model: LoadedModel
) -> None:
    kept: list[SweepPoint] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(machine, model, 3, kept)
    assert kept


def test_what_does_not_fit_is_left_out(
    machine: BackendMachine, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The allocator fails in the middle of a pass with more than 4 requests."""
    logits = Decoder.logits

    def failing(decoder: Decoder, hidden: Tensor) -> Tensor:
        if sys._getframe(1).f_locals.get("ids", ()).__len__() > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return logits(decoder, hidden)

    monkeypatch.setattr(Decoder, "logits", failing)
    monkeypatch.setattr(calibration, "slowdown_tasks", lambda *_: iter(()))
    made = calibrate(model, machine, ONE_ROUND, model_name="tiny")
    assert any("decode of 8 x " in said and "does not fit" in said for said in made.notices)
    decodes = {p.varied for p in made.profile.points if p.curve == "decode"}
    assert decodes
    assert max(requests for requests, _ in decodes) <= 4


def test_passes_are_those_that_were_asked_for(bench: Bench) -> None:
    between: list[int] = []
    found = bench.decode([64, 31, 200], 6, between=lambda: between.append(1))
    assert (found.requests, found.context_tokens, len(found.pass_s)) == (3, 64 + 31 + 200 + 3, 6)
    assert len(between) == 7
    assert len(bench.decode([64], 500, most_s=0.01).pass_s) < 500
    assert [(c.prior_tokens, c.tokens) for c in bench.prefill(100, 40)] == [
        (0, 40), (40, 40), (80, 20),
    ]  # fmt: skip
    assert bench.plane.device.book.held == 0


def test_synthetic_prompts_leave_the_decoder_alone(bench: Bench) -> None:
    """Tokens of a real prompt are attended to as they are, whatever was filled in before."""
    bench.decode([700], 3)
    weights = bench.decoder.weights.layers[0].qkv
    assert bool(torch.isfinite(weights).all())
    assert bench.decoder.for_prefill().block_rows is None
