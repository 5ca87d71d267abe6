"""Passes by one fit: worked out by hand, against plain sums, and its lines below and through."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitflow.errors import ProfileError
from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pass_fit import PassFit
from orbitflow.machine.profile import Profile, is_edited, load, save, sealed, to_json

# Flat to 64 tokens, then 0.1 ms a token to 128, then 0.2 ms.
FIT = PassFit(
    host_s=0.001,
    chunk_host_s=0.005,
    tokens=(1.0, 64.0, 128.0, 256.0),
    token_s=(0.010, 0.010, 0.0164, 0.042),
    outside_gpu_s=0.002,
    request_s=1e-5,
    context_s=1e-6,
    beside_chunks=0.5,
    pair_s=1e-8,
)


class Piece(NamedTuple):
    start: int
    tokens: int


@st.composite
def fits(draw: st.DrawFn) -> PassFit:
    steps = draw(st.lists(st.tuples(st.integers(1, 300), st.floats(0, 1e-3)), max_size=6))
    tokens, seconds = [draw(st.sampled_from((1.0, 8.0)))], [draw(st.floats(1e-3, 0.05))]
    for wide, slope in steps:
        tokens.append(tokens[-1] + wide)
        seconds.append(seconds[-1] + wide * slope)
    small = st.floats(0, 1e-3)
    return PassFit(
        draw(small), draw(small), tuple(tokens), tuple(seconds), 0.0,
        draw(small), draw(st.floats(0, 1e-6)), draw(st.floats(0, 3)), draw(st.floats(0, 1e-7)),
    )  # fmt: skip


def test_a_decode_pass_by_hand() -> None:
    # 1 ms of the server + 10 ms + 40 x 0.01 ms + 3,000 x 0.001 ms
    assert FIT.decode_s(40, 3000) == pytest.approx(0.0144)


def test_a_mixed_pass_by_hand() -> None:
    # 40 + 60 + 28 tokens: 16.4 ms; attention to 3,000 takes 1.5 x 3 ms; 60 x 30 + 28 x (100 + 14)
    chunks = (Piece(0, 60), Piece(100, 28))
    pairs = 60 * 30 + 28 * 114
    wanted = 0.001 + 0.005 + 0.0164 + 0.0004 + 0.0045 + pairs * 1e-8
    assert FIT.mixed_s(chunks, 40, 3000) == pytest.approx(wanted)


def test_tokens_beyond_the_last_knot_cost_as_those_before_it() -> None:
    assert FIT.tokens_s(1256) == pytest.approx(0.042 + 1000 * 0.0002)
    assert replace(FIT, tokens=(1.0,), token_s=(0.01,)).tokens_s(5000) == 0.01


@given(fits(), st.integers(1, 4000))
def test_a_whole_prompt_is_a_pass_with_nothing_else(fit: PassFit, tokens: int) -> None:
    alone = float(fit.prefills_s(np.array([tokens]))[0])
    assert alone == pytest.approx(fit.mixed_s((Piece(0, tokens),), 0, 0))
    assert fit.lone_s + fit.chunk_s(tokens, 0) == pytest.approx(alone)


@given(fits(), st.integers(2, 500), st.integers(0, 100_000))
def test_the_line_goes_through_one_and_all(fit: PassFit, requests: int, context: int) -> None:
    line = fit.line(requests)
    for n in (1, requests):
        on_it = line.base_s + n * line.request_s + context * line.token_s
        assert on_it == pytest.approx(fit.decode_s(n, context))


@given(
    fits(), st.integers(1, 64), st.floats(0, 1e5), st.floats(0, 1e6),
    st.integers(0, 64), st.lists(st.tuples(st.integers(0, 999), st.integers(1, 999)), max_size=3),
)  # fmt: skip
def test_no_pass_is_below_the_floor(
    fit: PassFit, slots: int, passes: float, prompts: float, requests: int, pieces: list[object]
) -> None:
    floor = fit.floor(slots, passes, prompts)
    chunks = tuple(Piece(*piece) for piece in pieces)  # type: ignore[misc]
    context = 100 * requests
    below = floor.request_s * requests + floor.context_s * context
    below += sum(floor.token_s * c.tokens for c in chunks)
    below += sum(floor.pair_s * c.tokens * (c.start + c.tokens / 2) for c in chunks)
    below += floor.base_s if requests or not chunks else min(floor.base_s, floor.overhead_s)
    assert below <= fit.mixed_s(chunks, requests, context) * (1 + 1e-9) or not chunks
    assert below <= fit.decode_s(requests, context) * (1 + 1e-9) or chunks


def test_a_slower_machine_takes_longer_for_everything() -> None:
    slow, chunks = FIT.slower(3.0), (Piece(7, 90),)
    assert slow.mixed_s(chunks, 5, 900) == pytest.approx(3 * FIT.mixed_s(chunks, 5, 900))
    assert slow.outside_s == pytest.approx(3 * FIT.outside_s) == pytest.approx(0.009)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"tokens": (1.0, 64.0)}, "equally many"),
        ({"tokens": (1.0, 64.0, 64.0, 256.0)}, "must rise"),
        ({"token_s": (0.01, 0.009, 0.02, 0.03)}, "must not fall"),
        ({"outside_gpu_s": 0.011}, "at most token_s"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        replace(FIT, **changes)  # type: ignore[arg-type]


def fitted() -> Profile:
    return replace(resolve_profile("h100-roofline"), decode=None, prefill=None, passes=FIT)


def test_a_profile_file_keeps_it(tmp_path: Path) -> None:
    profile = sealed(fitted())
    save(profile, tmp_path / "p.json")
    again = load(tmp_path / "p.json")
    assert again == profile
    assert not is_edited(again)
    assert is_edited(replace(again, passes=replace(FIT, pair_s=2e-8)))
    assert CostModel.from_profile(again).decode_pass_s(40, 3000) == pytest.approx(0.0144)


@pytest.mark.parametrize("given", [("decode", "prefill", "passes"), ("decode",), ()])
def test_one_form_and_whole(tmp_path: Path, given: tuple[str, ...]) -> None:
    document = json.loads(to_json(fitted()))
    lines = json.loads(to_json(resolve_profile("a5000-llama3-8b-paper")))
    for key in ("decode", "prefill"):
        document[key] = lines[key] if key in given else None
    if "passes" not in given:
        document["passes"] = None
    (tmp_path / "p.json").write_text(json.dumps(document))
    with pytest.raises(ProfileError, match="one form, and whole"):
        load(tmp_path / "p.json")
