"""`orbitflow trace`: tables on stdout, notices on stderr, JSON alone, light to pytest."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orbitflow.cli.trace import trace_app
from orbitflow.errors import UserError
from orbitflow.traces import read_trace
from orbitflow.traces.formats import FORMATS
from orbitflow.traces.rows import ReadOptions

Write = Callable[[str | bytes], Path]
LINE = '{"timestamp": 0, "input_length": 5, "output_length": 6, "hash_ids": [3]}\n'
PAPER = (
    '{"batch_size": 4, "num_gpu_blocks_override": 611, "requests": {"r": '
    '{"input_length": 5, "output_length": 6, "arrival_time": 7}}}'
)


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORBITFLOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "120")


def run(*arguments: object) -> tuple[str, str]:
    result = CliRunner().invoke(trace_app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.stdout, result.stderr


def test_inspect_shows_the_twin() -> None:
    out, err = run("inspect", "azure_conv.jsonl")
    for text in (
        "synthetic twin",
        "19,366",
        "CV of arrivals in 10 s windows",
        "Distribution",
        "p99",
    ):
        assert text in out
    assert "using the bundled synthetic twin" in err


def test_inspect_json_prints_only_json() -> None:
    out, err = run("inspect", "azure_conv", "--json")
    figures = json.loads(out)
    assert figures["requests"] == 19_366
    assert figures["prompt_tokens"]["p50"] > 900
    assert figures["burstiness"]["window_s"] == 10
    assert figures["notices"]
    assert err


def test_inspect_a_trace_in_steps(write: Write) -> None:
    out, _ = run("inspect", write(PAPER))
    assert "engine steps" in out
    assert "9,776 tokens" in out
    figures = json.loads(run("inspect", write(PAPER), "--json")[0])
    assert figures["arrival_unit"] == "steps"
    assert figures["rate"] is None


def test_names_are_not_taken_for_markup(tmp_path: Path) -> None:
    path = tmp_path / "[red]x[_].jsonl"
    path.write_text(LINE)
    assert "[red]x[_]" in run("inspect", path)[0]


def test_convert(write: Write, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    stdout, stderr = run("convert", write(LINE), out)
    assert stdout == ""
    assert "hash_ids carried over" in stderr
    assert "1 requests written" in stderr
    assert out.read_text() == LINE
    with pytest.raises(UserError, match="--force"):
        run("convert", write(LINE), out)
    run(
        "convert",
        write(PAPER),
        out,
        "--force",
        "--format",
        "orbitflow-paper",
        "--step-time",
        "50ms",
    )
    assert len(read_trace(out)) == 1


def test_convert_over_its_own_source(write: Write) -> None:
    path = write(LINE)
    run("convert", path, path, "--force")
    assert path.read_text() == LINE


def test_synth(tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    arguments = ("--num-requests", 50, "--seed", 4, "--rate-scale", 2)
    _, stderr = run("synth", "--out", one, *arguments)
    assert "cite Patel et al." in stderr
    run("synth", "--out", two, "--like", "azure_conv", *arguments)
    assert one.read_bytes() == two.read_bytes()
    assert len(read_trace(one)) == 50
    run("synth", "--out", two, "--num-requests", 50, "--seed", 4, "--force")
    assert read_trace(two).arrival[-1] == pytest.approx(2 * read_trace(one).arrival[-1], abs=1e-8)


def test_the_written_twin_is_the_bundled_one(tmp_path: Path) -> None:
    from orbitflow.traces import resolve

    run("synth", "--out", tmp_path / "twin.jsonl")
    assert list(read_trace(tmp_path / "twin.jsonl").requests()) == list(
        resolve("azure_conv").requests()
    )


def test_convert_text(write: Write, tmp_path: Path) -> None:
    talk = '[{"conversations": [{"from": "human", "value": "a b"}, {"from": "gpt", "value": "c"}]}]'
    out = tmp_path / "out.jsonl"
    options = ("--rate", 2, "--tokens-per-word", 3, "--seed", 4)
    _, stderr = run("convert", write(talk), out, *options)
    assert "3 tokens per word and a Poisson process of 2 requests/s (seed 4)" in stderr
    assert out.read_text() == '{"timestamp": 0, "input_length": 6, "output_length": 3}\n'


def test_help_is_true() -> None:
    """The command line does not load the defaults to show them, so this compares."""
    text = " ".join(run("convert", "--help")[0].replace("│", " ").split())
    assert {"azure-2024", "sharegpt", "orbitflow-paper"} < {known.name for known in FORMATS}
    for default in ("rate", "tokens_per_word", "seed"):
        assert f"[{getattr(ReadOptions, default):g}]" in text


def test_the_commands_load_nothing_heavy() -> None:
    code = "import sys, orbitflow.cli.trace; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
