"""The figures in docs/explanation/model.md are what the code computes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from reference.lines import lines

from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import (
    RingPipeline,
    TransferDemand,
    barrier_stalls,
    paper_stalls,
    serial_stalls,
)
from orbitflow.policy.registry import policy_names

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "explanation"
PAGE = (FOLDER / "model.md").read_text()
LAYERS, LAYER_S, OUTSIDE_S, GROUP_S, GROUP_BYTES = 8, 0.002, 0.001, 0.008, 1.0
COMPUTE_S = LAYERS * LAYER_S + OUTSIDE_S


def demand(passes: int) -> TransferDemand:
    shape = (passes, 2)
    return TransferDemand((3, 7), np.full(shape, GROUP_S), np.full(shape, GROUP_BYTES))


def passes_s(form: str) -> list[float]:
    """Times of the first two passes in seconds."""
    two, layer_s = demand(2), np.full(2, LAYER_S)
    if form.startswith("ring"):
        ring = RingPipeline()
        ring.restart(0.0, (2 if "two" in form else 1) * GROUP_BYTES)
        stalls = ring.stalls(two, layer_s, np.full(2, COMPUTE_S), 0.0)
    else:
        stalls = {
            "serial": serial_stalls(two),
            "barrier": barrier_stalls(two, layer_s, OUTSIDE_S),
            "paper": paper_stalls(two, layer_s),
        }[form]
    return [COMPUTE_S + stall for stall in stalls.tolist()]


def rows() -> list[tuple[str, float, float]]:
    table = PAGE.split("| form | first pass, ms | second pass, ms |")[1]
    found = re.findall(r"^\| ([^|]+) \| (\d+) \| (\d+) \|$", table, re.MULTILINE)
    return [(form, float(first), float(second)) for form, first, second in found]


def test_the_table_has_every_form() -> None:
    forms = ["serial", "barrier", "paper", "ring, two groups", "ring, one group"]
    assert [row[0] for row in rows()] == forms


@pytest.mark.parametrize(("form", "first_ms", "second_ms"), rows())
def test_passes_by_hand(form: str, first_ms: float, second_ms: float) -> None:
    assert passes_s(form) == pytest.approx([first_ms / 1e3, second_ms / 1e3])


def test_streaming_against_attending_on_the_papers_machine() -> None:
    profile = resolve_profile("a5000-llama3-8b-paper")
    capacity = profile.kv_capacity_tokens()
    stream_s = profile.model.kv_bytes_per_token / profile.h2d.bytes_per_s[0]
    full_s = CostModel.from_profile(profile).decode_pass_s(1, capacity)
    free = int(full_s / stream_s)
    decode = lines(profile).decode
    for written in (
        f"{decode.base_s * 1e3:g} ms plus {decode.token_s * 1e6:g} µs",
        f"{profile.model.kv_bytes_per_token:,} bytes",
        f"{stream_s * 1e6:.1f} µs at {profile.h2d.bytes_per_s[0] / 1e9:.2f} GB/s",
        f"{stream_s / decode.token_s:.1f} times",
        f"({capacity:,} tokens) lasts {full_s * 1e3:.1f} ms",
        f"KV of {free:,} tokens",
        f"{free / capacity:.0%}".replace("%", " %") + " more",
    ):
        assert written in " ".join(PAGE.split()), written


def test_every_policy_is_explained() -> None:
    explained = set(re.findall(r"`([a-z0-9-]+)`", (FOLDER / "policies.md").read_text()))
    assert set(policy_names()) <= explained
