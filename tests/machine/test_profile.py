"""Profiles: capacity by hand, files that round-trip, and every refusal with its key path."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.lines import lines

from orbitflow.errors import ProfileError
from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.line_passes import DecodeFit, PrefillFit
from orbitflow.machine.model import ModelSpec
from orbitflow.machine.profile import (
    FitError,
    HostFit,
    LinkFit,
    MeasuredPoint,
    Profile,
    Provenance,
    load,
    save,
    to_json,
)
from orbitflow.units import GIB

A5000 = resolve_profile("a5000-llama3-8b-paper")
Document = dict[str, Any]


def written(tmp_path: Path, change: Callable[[Document], object]) -> Path:
    """Write the A5000 profile after a change to its parsed JSON."""
    document = json.loads(to_json(A5000))
    change(document)
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(document))
    return path


def assign(path: str, value: object) -> Callable[[Document], object]:
    """Make a change that sets the dotted `path` to `value`."""

    def change(document: Document) -> None:
        *outer, last = path.split(".")
        target: Any = document
        for key in outer:
            target = target[int(key)] if key.isdigit() else target[key]
        target[last] = value

    return change


def test_capacity_by_hand() -> None:
    """24 GiB x 0.9 = 23,192,823,398.4 B; less weights 16,060,522,496 and 1 GiB: 6,058,559,078.4 B.

    A page of 16 tokens takes 2,097,152 B: 2,888.9 pages, so 2,888 x 16 = 46,208 tokens.
    """
    assert A5000.kv_capacity_tokens() == 46_208
    assert A5000.kv_capacity_tokens(24 * GIB) == 46_208


def test_capacity_of_other_memory() -> None:
    """48 GiB: (46,385,646,796.8 - 17,134,264,320) / 2,097,152 = 13,948.2 pages."""
    assert A5000.kv_capacity_tokens(48 * GIB) == 13_948 * 16


def test_weights_larger_than_the_gpu() -> None:
    with pytest.raises(ProfileError) as refusal:
        A5000.kv_capacity_tokens(16 * GIB)
    message = str(refusal.value)
    assert "15.0 GiB" in message
    assert "16.0 GiB" in message
    assert "more GPU memory" in message


def test_less_than_a_page_is_no_capacity() -> None:
    weights = A5000.weight_bytes + GIB
    just = math.ceil((weights + 16 * 131_072) / 0.9) + 1
    assert A5000.kv_capacity_tokens(just) == 16
    with pytest.raises(ProfileError, match="leave no room"):
        A5000.kv_capacity_tokens(just - 100)


def test_save_and_load(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    save(A5000, path)
    assert load(path) == A5000
    assert json.loads(path.read_text())["schema_version"] == 2
    assert os.listdir(tmp_path) == ["mine.json"]


def test_a_refused_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    save(A5000, path)
    with pytest.raises(ProfileError, match=r"link_slowdown is NaN"):
        save(replace(A5000, link_slowdown=math.nan), path)
    assert load(path) == A5000


def test_saving_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot write"):
        save(A5000, tmp_path / "no" / "folder.json")
    with pytest.raises(ProfileError, match="cannot write"):
        save(A5000, tmp_path)
    assert os.listdir(tmp_path) == []


def test_whole_numbers_stand_for_seconds(tmp_path: Path) -> None:
    profile = load(written(tmp_path, assign("decode.base_s", 1)))
    assert type(lines(profile).decode.base_s) is float


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("decode.token_s", -1e-9, "decode.token_s is -1e-09: it must be a finite number, zero or"),
        ("decode.token_s", math.nan, "decode.token_s is NaN"),
        ("decode.token_s", math.inf, "decode.token_s is Infinity"),
        ("decode.token_s", "fast", 'decode.token_s is "fast": it must be a number'),
        ("decode.token_s", True, "decode.token_s is true"),
        ("decode.token_s", None, "decode.token_s is null"),
        ("decode.token_s", 10**400, "decode.token_s is 1000"),
        ("decode.base_s", 0, "decode.base_s is 0: it must be a finite number, more than zero"),
        ("decode.outside_s", 1.0, "decode.outside_s is 1.0: at most base_s, 0.0495"),
        ("decode.tokn_s", 1.0, "decode.tokn_s is not a known key: did you mean token_s"),
        ("decode", [], r"decode is \[\]: it must be an object"),
        ("prefill.token_s", 0.0, "prefill.token_s is 0.0"),
        ("colour", "red", "colour is not a known key"),
        ("gpus", 0, "gpus is 0"),
        ("gpus", 1.0, "gpus is 1.0: it must be a whole number"),
        ("gpu_memory_bytes", -1, "gpu_memory_bytes is -1"),
        ("page_tokens", 0, "page_tokens is 0"),
        ("name", 7, "name is 7: it must be a text"),
        ("model.tied_embeddings", 0, "model.tied_embeddings is 0: it must be true or false"),
        ("model.kv_heads", 5, "model.kv_heads 5 must divide the 32 heads"),
        ("model.layers", -32, "model.layers is -32"),
        ("h2d.run_bytes", [], "h2d.run_bytes and bytes_per_s must have one or more points"),
        ("h2d.run_bytes", [1.0, 2.0], "h2d.run_bytes and bytes_per_s must have one or more"),
        ("h2d.run_bytes", [0.0], r"h2d.run_bytes\[0\] is 0.0"),
        ("d2h.bytes_per_s", [-5.0], r"d2h.bytes_per_s\[0\] is -5.0"),
        ("d2h.bytes_per_s", 5.0, "d2h.bytes_per_s is 5.0: it must be a list"),
        ("host", {"attention_bytes_per_s": 1.0}, "host.gather_bytes_per_s missing"),
        ("host_memory_bytes", 0, "host_memory_bytes is 0"),
        ("measured_kv_tokens", 0, "measured_kv_tokens is 0"),
        ("points", [{"curve": "decode"}], r"points\[0\].varied, points\[0\].measured_s"),
        ("digest", 7, "digest is 7: it must be a text"),
        ("errors.0.points", -1, r"errors\[0\].points is -1"),
        ("errors.0.r2", "good", r"errors\[0\].r2 is"),
        ("simplified", [3], r"simplified\[0\] is 3: it must be a text"),
        ("provenance", "x" * 99, r'provenance is "x+\.\.\.: it must be an object'),
        ("schema_version", 4, "schema_version is 4, newer than 3: upgrade orbitflow"),
        ("schema_version", 0, "schema_version is 0: it must be 1 to 3"),
        ("schema_version", "1", "schema_version is '1': it must be 1"),
        ("schema_version", True, "schema_version is True: it must be 1"),
    ],
)
def test_a_bad_value_is_refused_by_its_path(
    tmp_path: Path, path: str, value: object, said: str
) -> None:
    file = written(tmp_path, assign(path, value))
    with pytest.raises(ProfileError, match=said) as refusal:
        load(file)
    assert str(refusal.value).startswith(str(file))
    assert "\n" not in str(refusal.value)


def test_unsorted_run_sizes_are_refused(tmp_path: Path) -> None:
    link = {"latency_s": 0.0, "run_bytes": [2.0, 1.0], "bytes_per_s": [1.0, 1.0]}
    with pytest.raises(ProfileError, match=r"h2d.run_bytes \[2.0, 1.0\] must rise"):
        load(written(tmp_path, assign("h2d", link)))


def test_missing_keys_are_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"decode\.token_s missing"):
        load(written(tmp_path, lambda document: document["decode"].pop("token_s")))
    with pytest.raises(ProfileError, match="gpus, prefill missing"):
        load(written(tmp_path, lambda document: (document.pop("gpus"), document.pop("prefill"))))
    with pytest.raises(ProfileError, match="schema_version is None"):
        load(written(tmp_path, lambda document: document.pop("schema_version")))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"gpus": 1, "gpus": 2}'])
def test_a_file_that_is_no_profile(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(text)
    with pytest.raises(ProfileError, match=r"profile\.json"):
        load(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"none\.json cannot be read \(No such file"):
        load(tmp_path / "none.json")


zero_or_more = st.floats(0, 1e12)
positive = st.floats(1e-12, 1e12)
seconds = st.floats(0, 1e6)
token_seconds = st.floats(0, 1e3)
rate = st.floats(1, 1e12)
count = st.integers(1, 2**50)
text = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=8)


@st.composite
def links(draw: st.DrawFn) -> LinkFit:
    runs = sorted(draw(st.sets(positive, min_size=1, max_size=4)))
    rates = draw(st.lists(rate, min_size=len(runs), max_size=len(runs)))
    return LinkFit(draw(seconds), tuple(runs), tuple(rates))


@st.composite
def models(draw: st.DrawFn) -> ModelSpec:
    size = st.integers(1, 9999)
    kv_heads = draw(st.integers(1, 16))
    return ModelSpec(
        name=draw(text),
        layers=draw(size),
        hidden_size=draw(size),
        heads=kv_heads * draw(st.integers(1, 16)),
        kv_heads=kv_heads,
        head_dim=draw(size),
        intermediate_size=draw(size),
        vocab_size=draw(size),
        tied_embeddings=draw(st.booleans()),
        dtype_bytes=draw(st.sampled_from([2, 4])),
        max_context_tokens=draw(st.none() | size),
        layer_vector_parameters=draw(st.none() | size),
    )


@st.composite
def decode_fits(draw: st.DrawFn) -> DecodeFit:
    base_s = draw(st.floats(1e-9, 1e6))
    outside_s = base_s * draw(st.floats(0, 1))
    return DecodeFit(base_s, draw(token_seconds), draw(token_seconds), outside_s)


profiles = st.builds(
    Profile,
    name=text,
    model=models(),
    gpu_memory_bytes=count,
    gpus=st.integers(1, 64),
    weight_bytes=count,
    page_tokens=st.integers(1, 512),
    decode=decode_fits(),
    prefill=st.builds(PrefillFit, seconds, st.floats(1e-12, 1e3), token_seconds),
    h2d=links(),
    d2h=links(),
    link_slowdown=st.floats(0, 1),
    host=st.none() | st.builds(HostFit, rate, rate),
    planner_latency_s=seconds,
    host_memory_bytes=st.none() | count,
    provenance=st.builds(Provenance, text, text, text, text, text, text),
    errors=st.lists(
        st.builds(
            FitError,
            text,
            st.integers(0, 999),
            st.integers(0, 999),
            st.none() | st.floats(-9, 1),
            st.none() | zero_or_more,
            st.none() | zero_or_more,
        ),
        max_size=2,
    ).map(tuple),
    simplified=st.lists(text, max_size=3).map(tuple),
    measured_kv_tokens=st.none() | st.integers(1, 10**12),
    points=st.lists(
        st.builds(
            MeasuredPoint,
            text,
            st.lists(zero_or_more, max_size=3).map(tuple),
            *(zero_or_more, zero_or_more, zero_or_more),
            st.integers(1, 99),
            st.booleans(),
        ),
        max_size=2,
    ).map(tuple),
    digest=st.none() | text,
)


@given(profile=profiles)
def test_any_profile_comes_back_unchanged(
    tmp_path_factory: pytest.TempPathFactory, profile: Profile
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.json"
    save(profile, path)
    assert load(path) == profile
