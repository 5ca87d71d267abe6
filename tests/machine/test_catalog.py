"""The built-in profiles: the published figures, every name, and models that do not match."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from reference.lines import lines

from orbitflow.errors import ProfileError
from orbitflow.machine.catalog import DEFAULT_PROFILE, profile_names, resolve_profile
from orbitflow.machine.model import model_from_config
from orbitflow.machine.profile import load, save, to_json
from orbitflow.units import GIB


def test_names_are_those_of_the_manual() -> None:
    assert profile_names() == [
        "a5000-llama3-8b-paper",
        "a6000-llama3-8b-paper",
        "a100-llama3-8b-paper",
        "a6000x4-llama3-70b-paper",
        "a5000-roofline",
        "a6000-roofline",
        "a100-40gb-roofline",
        "a100-80gb-roofline",
        "h100-roofline",
        "h200-roofline",
        "l40s-roofline",
        "rtx4090-roofline",
        "rtx3090-roofline",
        "l4-roofline",
        "gh200-roofline",
        "b200-roofline",
    ]
    assert profile_names()[0] == DEFAULT_PROFILE


@pytest.mark.parametrize(
    ("name", "base_s", "token_s", "link_gb_per_s", "gpu_memory_gib", "gpus"),
    [
        ("a5000-llama3-8b-paper", 0.0495, 9.63e-7, 7.62, 24, 1),
        ("a6000-llama3-8b-paper", 0.0406, 6.74e-7, 7.01, 48, 1),
        ("a100-llama3-8b-paper", 0.0483, 8.89e-7, 7.24, 80, 1),
        ("a6000x4-llama3-70b-paper", 0.132, 1.16e-6, 5.95, 192, 4),
    ],
)
def test_published_fits(
    name: str, base_s: float, token_s: float, link_gb_per_s: float, gpu_memory_gib: int, gpus: int
) -> None:
    """A5000: 131,072 B / 17.2 µs = 7.62 GB/s; four A6000s: 327,680 B / 55.1 µs = 5.95 GB/s."""
    profile = resolve_profile(name)
    assert (lines(profile).decode.base_s, lines(profile).decode.token_s) == (base_s, token_s)
    assert (lines(profile).decode.request_s, lines(profile).decode.outside_s) == (0, 0)
    assert profile.h2d == profile.d2h
    assert profile.h2d.latency_s == 0
    assert profile.h2d.bytes_per_s[0] / 1e9 == pytest.approx(link_gb_per_s, abs=0.005)
    assert (profile.gpu_memory_bytes, profile.gpus) == (gpu_memory_gib * GIB, gpus)
    assert (profile.page_tokens, profile.planner_latency_s) == (16, 0.005)
    assert any(line.startswith("prefill: roofline at 50 %") for line in profile.simplified)


def test_prefill_of_a_published_fit_is_the_roofline_of_its_machine() -> None:
    assert (
        resolve_profile("a5000-llama3-8b-paper").prefill
        == resolve_profile("a5000-roofline").prefill
    )
    four = resolve_profile("a6000x4-roofline", "llama-3-70b")
    assert resolve_profile("a6000x4-llama3-70b-paper").prefill == four.prefill


def test_the_doubtful_figure_is_marked() -> None:
    doubtful = [
        name
        for name in profile_names()
        if any("raw pass time" in line for line in resolve_profile(name).simplified)
    ]
    assert doubtful == ["a100-llama3-8b-paper"]


@pytest.mark.parametrize("name", profile_names())
def test_every_built_in_round_trips_and_holds_its_model(name: str, tmp_path: Path) -> None:
    profile = resolve_profile(name)
    save(profile, tmp_path / "profile.json")
    assert load(tmp_path / "profile.json") == profile
    assert resolve_profile(str(tmp_path / "profile.json")) == profile
    assert profile.name == name
    assert profile.provenance.model == profile.model.name
    assert profile.provenance.source
    assert profile.kv_capacity_tokens() % profile.page_tokens == 0


def test_rooflines_take_any_model(tmp_path: Path) -> None:
    config = {
        "num_hidden_layers": 2,
        "hidden_size": 64,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "vocab_size": 100,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert resolve_profile("h100-roofline", str(tmp_path)).model.layers == 2
    profile = resolve_profile("h100-roofline", "qwen3-8b")
    assert (profile.model.name, profile.page_tokens) == ("qwen3-8b", 64)
    assert resolve_profile("h100-roofline").model.name == "llama-3-8b"


@pytest.mark.parametrize(
    ("name", "gpus", "memory_gib"),
    [("rtx4090x2-roofline", 2, 48), ("a100-80gbx8-roofline", 8, 640), ("a5000x1-roofline", 1, 24)],
)
def test_several_gpus_by_name(name: str, gpus: int, memory_gib: int) -> None:
    profile = resolve_profile(name)
    assert (profile.name, profile.gpus, profile.gpu_memory_bytes) == (name, gpus, memory_gib * GIB)


@pytest.mark.parametrize("count", ["0", "65", "9" * 5000])
def test_too_few_or_too_many_gpus(count: str) -> None:
    with pytest.raises(ProfileError, match="take 1 to 64"):
        resolve_profile(f"a5000x{count}-roofline")


def test_a_fitted_profile_keeps_its_model(tmp_path: Path) -> None:
    name = "a5000-llama3-8b-paper"
    assert resolve_profile(name, "llama-3-8b") == resolve_profile(name)
    assert resolve_profile(name, "llama-3.1-8b") == resolve_profile(name)
    with pytest.raises(ProfileError, match=r"fitted to llama-3-8b, not to qwen3-8b: .*roofline"):
        resolve_profile(name, "qwen3-8b")
    save(resolve_profile("h100-roofline", "qwen3-8b"), tmp_path / "mine.json")
    with pytest.raises(ProfileError, match="fitted to qwen3-8b, not to llama-3-8b"):
        resolve_profile(str(tmp_path / "mine.json"), "llama-3-8b")


def test_a_model_too_large_says_so_when_it_is_placed() -> None:
    profile = resolve_profile("a5000-roofline", "llama-3-70b")
    with pytest.raises(ProfileError, match=r"131\.4 GiB of llama-3-70b weights .* 24\.0 GiB"):
        profile.kv_capacity_tokens()
    assert profile.kv_capacity_tokens(400 * GIB) > 0


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("a5000-llama3-8b", "a5000-llama3-8b-paper"),
        ("h10-roofline", "h100-roofline"),
        ("a5000xx4-roofline", "a5000-roofline"),
        ("a5000x²-roofline", "a5000-roofline"),
        ("", "b200-roofline"),
    ],
)
def test_unknown_names_come_with_known_ones(name: str, near: str) -> None:
    with pytest.raises(ProfileError, match=near) as refusal:
        resolve_profile(name)
    assert "\n" not in str(refusal.value)


def test_unknown_model() -> None:
    with pytest.raises(ProfileError, match="llama-3-8b"):
        resolve_profile("h100-roofline", "llama-3-8")


def test_profiles_are_deterministic() -> None:
    assert [to_json(resolve_profile(name)) for name in profile_names()] == [
        to_json(resolve_profile(name)) for name in profile_names()
    ]


def test_the_catalog_needs_no_numeric_library() -> None:
    code = (
        "import sys, orbitflow.machine.catalog\n"
        "print(*{'numpy', 'scipy', 'rich'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def test_published_weights_are_those_of_the_preset() -> None:
    model = model_from_config("llama-3-8b")
    assert resolve_profile(DEFAULT_PROFILE).weight_bytes == model.weight_bytes == 16_060_522_496
