"""What version 2 of the profile file added: a measured capacity, points, and a seal."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from orbitflow.config import RunConfig
from orbitflow.errors import ProfileError
from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.profile import MeasuredPoint, Profile, is_edited, load, save, sealed, to_json
from orbitflow.scenario import build_scenario
from orbitflow.units import GIB

A5000 = resolve_profile("a5000-llama3-8b-paper")


@pytest.fixture
def measured() -> Profile:
    point = MeasuredPoint("decode", (4.0, 1000.0), 0.0501, 0.0504, 0.01, 5, True)
    return sealed(replace(A5000, name="mine", measured_kv_tokens=30_000, points=(point,)))


def test_what_was_measured_wins_over_the_formula(measured: Profile) -> None:
    assert measured.kv_capacity_tokens() == 30_000
    assert measured.kv_capacity_tokens(24 * GIB) == 46_208
    assert replace(measured, measured_kv_tokens=None).kv_capacity_tokens() == 46_208


def test_a_seal_survives_the_file(measured: Profile, tmp_path: Path) -> None:
    save(measured, tmp_path / "p.json")
    again = load(tmp_path / "p.json")
    assert again == measured
    assert not is_edited(again)
    assert not is_edited(sealed(again))


@pytest.mark.parametrize("key", ["name", "planner_latency_s"])
def test_an_edit_is_seen_and_accepted(measured: Profile, tmp_path: Path, key: str) -> None:
    document = json.loads(to_json(measured))
    document[key] = "other" if key == "name" else 0.25
    path = tmp_path / "p.json"
    path.write_text(json.dumps(document))
    assert is_edited(load(path))
    trace = tmp_path / "t.jsonl"
    trace.write_text('{"timestamp": 0, "input_length": 9, "output_length": 3}\n')
    (notice,) = build_scenario(RunConfig(trace=str(trace), profile=str(path))).notices
    assert notice.endswith("was edited after it was measured")


def test_an_unchanged_file_is_not_remarked_upon(measured: Profile, tmp_path: Path) -> None:
    save(measured, tmp_path / "p.json")
    trace = tmp_path / "t.jsonl"
    trace.write_text('{"timestamp": 0, "input_length": 9, "output_length": 3}\n')
    config = RunConfig(trace=str(trace), profile=str(tmp_path / "p.json"))
    assert build_scenario(config).notices == ()


def test_what_was_never_measured_is_never_edited() -> None:
    assert not is_edited(A5000)
    assert not is_edited(replace(A5000, name="other"))


def test_files_of_version_1_still_load(tmp_path: Path) -> None:
    document = json.loads(to_json(A5000))
    for key in ("measured_kv_tokens", "points", "digest"):
        del document[key]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(document | {"schema_version": 1}))
    assert load(path) == A5000
    path.write_text(json.dumps(document))
    with pytest.raises(ProfileError, match="measured_kv_tokens, points, digest missing"):
        load(path)


def test_files_of_version_2_keep_their_seal(measured: Profile, tmp_path: Path) -> None:
    """They have no word of norms and biases; the digest was taken without it."""
    document = json.loads(to_json(measured))
    assert document["schema_version"] == 2
    assert "layer_vector_parameters" not in document["model"]
    sealed_then = {key: value for key, value in document.items() if key != "schema_version"}
    text = json.dumps(sealed_then | {"digest": None}, sort_keys=True, separators=(",", ":"))
    assert measured.digest == hashlib.sha256(text.encode()).hexdigest()
    path = tmp_path / "old.json"
    path.write_text(json.dumps(document | {"schema_version": 2}))
    assert load(path) == measured
    assert not is_edited(load(path))
    path.write_text(json.dumps(document | {"schema_version": 3, "passes": None}))
    with pytest.raises(ProfileError, match=r"model\.layer_vector_parameters missing"):
        load(path)


def test_norms_and_biases_are_sealed_where_they_are_told(measured: Profile) -> None:
    model = replace(measured.model, layer_vector_parameters=9000)
    assert is_edited(replace(measured, model=model))
    assert model.same_shape(measured.model)


def test_a_truncated_file_is_refused_in_a_line(measured: Profile, tmp_path: Path) -> None:
    text = to_json(measured)
    path = tmp_path / "torn.json"
    for end in (1, len(text) // 3, len(text) - 3):
        path.write_text(text[:end])
        with pytest.raises(ProfileError, match="is not JSON") as refusal:
            load(path)
        assert "\n" not in str(refusal.value)
