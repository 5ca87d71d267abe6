"""Real traces through the whole command; skipped where they are not at hand.

$ORBITFLOW_SHARED names the folder that holds `traces/`; by default it lies beside the repository.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from orbitflow.cli.sim import run_simulation
from orbitflow.config import RunConfig

SHARED = Path(os.environ.get("ORBITFLOW_SHARED", Path(__file__).parents[2] / "shared"))


def simulated(tmp_path: Path, trace: str, **options: Any) -> dict[str, Any]:
    path = SHARED / "traces" / trace
    if not path.exists():
        pytest.skip(f"{trace} is not at hand: set ORBITFLOW_SHARED to the folder of traces/")
    out = tmp_path / "run"
    run_simulation(RunConfig(trace=str(path), **options), out, as_json=False, quiet=True)
    assert not (out / "INCOMPLETE").exists()
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    for name in summary["policies"]:
        lines = (out / name / "requests.jsonl").read_text().splitlines()
        assert len(lines) == summary["policies"][name]["requests"] == summary["trace"]["requests"]
    return summary


@pytest.mark.slow
def test_the_azure_trace_whole(tmp_path: Path) -> None:
    summary = simulated(tmp_path, "azure_conv_2023.csv", policies=("no-offload",), seed=0)
    assert summary["trace"]["rate_scale"] == 0.18
    assert summary["trace"]["offered_load"]["kv_peak"] > 1
    load = summary["trace"]["offered_load"]
    assert load["prefill"] + load["decode"] < 0.9
    figures = summary["policies"]["no-offload"]
    assert figures["completed"] == 19_366
    assert figures["output_tokens"] == 4_088_665


def test_five_thousand_of_its_requests_where_kv_streams(tmp_path: Path) -> None:
    """So many that `dynamic`, which lets in too many of them, falls hours behind."""
    summary = simulated(
        tmp_path,
        "azure_conv_2023.csv",
        policies=("no-offload", "dynamic"),
        num_requests=5000,
        rate_scale=0.18,
        seed=0,
    )
    no_offload, dynamic = summary["policies"].values()
    for figures in (no_offload, dynamic):
        assert figures["completed"] == 5000
        assert figures["output_tokens"] == summary["trace"]["output_tokens"]
    assert dynamic["link"]["h2d_bytes"] > 0
    assert dynamic["ttft_s"]["max"] > 3600 > no_offload["ttft_s"]["max"]
    assert dynamic["timely_share"] < no_offload["timely_share"]


def test_five_hundred_long_conversations(tmp_path: Path) -> None:
    summary = simulated(
        tmp_path, "mooncake_conversation.jsonl", num_requests=500, kv_capacity_tokens=200_000
    )
    for figures in summary["policies"].values():
        assert figures["completed"] + figures["failed"] == 500
    assert summary["policies"]["dynamic"]["link"]["h2d_bytes"] > 0


def test_the_papers_trace_brings_its_own_machine(tmp_path: Path) -> None:
    summary = simulated(
        tmp_path, "paper_32k_lambda2.0x_cv1.json", policies=("no-offload", "dynamic")
    )
    assert summary["profile"]["kv_capacity_tokens"] == 611 * 16
    assert summary["profile"]["max_batch"] == 4
    assert summary["slo"]["tau_s"] == pytest.approx(1.5 * (9.63e-7 * 611 * 16 + 0.0495))
    assert summary["policies"]["no-offload"]["failed"] == 4  # longer than the whole capacity
    assert summary["policies"]["dynamic"]["completed"] == 52
    assert summary["policies"]["dynamic"]["output_tokens"] == 177_325


def test_options_override_what_the_trace_brings(tmp_path: Path) -> None:
    summary = simulated(
        tmp_path,
        "paper_32k_lambda2.0x_cv1.json",
        policies=("no-offload",),
        kv_capacity_tokens=20_000,
        max_batch=2,
    )
    assert summary["profile"]["kv_capacity_tokens"] == 20_000
    assert summary["profile"]["max_batch"] == 2
    assert summary["policies"]["no-offload"]["completed"] == 52


def test_a_ring_on_top_of_the_capacity_leaves_more_room(tmp_path: Path) -> None:
    trace = "paper_32k_lambda2.0x_cv1.json"
    inside = simulated(tmp_path / "a", trace, policies=("dynamic",))
    on_top = simulated(tmp_path / "b", trace, policies=("dynamic",), ring_extra=True)
    share = [s["policies"]["dynamic"]["link"]["resident_share"] for s in (inside, on_top)]
    assert share[0] < share[1]
