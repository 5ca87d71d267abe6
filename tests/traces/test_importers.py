"""Formats other than the canonical one, by small files and by the real ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orbitflow.errors import TraceError
from orbitflow.traces import read_trace
from orbitflow.traces.formats import FORMATS, find_format
from orbitflow.traces.write import convert

Write = Callable[[str | bytes], Path]
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
PAPER = {
    "batch_size": 4,
    "num_gpu_blocks_override": 10,
    "requests": {
        "request_0": {"input_length": 20, "output_length": 30, "arrival_time": 100},
        "request_1": {"input_length": 21, "output_length": 31, "arrival_time": 90},
    },
}


def test_azure_over_midnight_to_a_tenth_of_a_microsecond(write: Write) -> None:
    stamps = ("2023-12-31 23:59:59.9999999", "2024-01-01 00:00:00.0000001", "2024-01-01 00:01:00")
    rows = (f"{at},{10 + place},{place + 1}" for place, at in enumerate(stamps))
    trace = read_trace(write(AZURE + "\n".join(rows)))
    assert trace.format == "azure-2023"
    assert trace.arrival.tolist() == [0.0, 2e-7, 60.0000001]
    assert trace.prompt_tokens.tolist() == [10, 11, 12]
    assert trace.output_tokens.tolist() == [1, 2, 3]


@pytest.mark.parametrize("indent", [None, 1])
def test_paper_brings_its_limits_and_counts_steps(write: Write, indent: int | None) -> None:
    trace = read_trace(write(json.dumps(PAPER, indent=indent)))
    assert trace.format == "orbitflow-paper"
    assert (trace.max_batch, trace.kv_capacity_tokens) == (4, 160)
    assert trace.arrival_unit == "steps"
    assert trace.arrival.tolist() == [0.0, 10.0]
    assert trace.prompt_tokens.tolist() == [21, 20]
    assert trace.notices == ("some.trace: requests sorted by arrival",)


def test_paper_without_limits_brings_none(write: Write) -> None:
    trace = read_trace(write(json.dumps({"requests": PAPER["requests"]})))
    assert trace.max_batch is None
    assert trace.kv_capacity_tokens is None


def test_paper_converts_only_with_a_step_time(write: Write, tmp_path: Path) -> None:
    path, out = write(json.dumps(PAPER)), tmp_path / "out.jsonl"
    with pytest.raises(TraceError, match="engine steps; say --step-time"):
        convert(path, out)
    done = convert(path, out, step_s=0.05)
    assert read_trace(out).arrival.tolist() == [0.0, 0.5]
    assert "left behind: batch size 4, KV capacity 160 tokens" in done.notices[-1]


def test_azure_converts_to_the_same_trace(write: Write, tmp_path: Path) -> None:
    path = write(
        AZURE + "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
    )
    convert(path, tmp_path / "out.jsonl")
    again = read_trace(tmp_path / "out.jsonl")
    assert again.arrival.tolist() == read_trace(path).arrival.tolist() == [0.0, 4.314579]


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ('{"timestamp": 0, "input_length": 5, "output_length": 6, "hash_ids": [1]}', "mooncake"),
        ('{"timestamp": 0, "hash_ids": [1], "slo_tbt_ms": 6}', "canonical"),
        ('\n{"output_length": 6, "input_length": 5, "timestamp": 0}', "canonical"),
        (AZURE.replace("\n", "\r\n"), "azure-2023"),
        ('{\n "a": 1, "requests":\n {', "orbitflow-paper"),
    ],
)
def test_content_says_the_format(write: Write, head: str, name: str) -> None:
    assert find_format(write(head)).name == name
    assert len({known.name for known in FORMATS}) == len(FORMATS)


def test_real_azure(shared_traces: Path) -> None:
    trace = read_trace(shared_traces / "azure_conv_2023.csv")
    assert len(trace) == 19_366
    assert trace.prompt_tokens.sum() == 22_361_870
    assert trace.output_tokens.sum() == 4_088_665
    assert trace.arrival[:2].tolist() == [0.0, 4.314579]
    assert trace.arrival[-1] == 3501.721937
    assert trace.notices == ()


def test_real_mooncake(shared_traces: Path) -> None:
    trace = read_trace(shared_traces / "mooncake_conversation.jsonl")
    assert trace.format == "mooncake"
    assert len(trace) == 12_031
    assert trace.prompt_tokens.max() == 126_195
    assert trace.arrival[-1] == 3536.999
    assert len(trace.notices) == 1


def test_real_paper(shared_traces: Path) -> None:
    trace = read_trace(shared_traces / "paper_32k_lambda2.0x_cv1.json")
    assert len(trace) == 52
    assert (trace.max_batch, trace.kv_capacity_tokens) == (4, 611 * 16)
    assert trace.arrival_unit == "steps"
    assert trace.arrival[-1] == 92_525
