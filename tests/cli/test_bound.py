"""`--bound` of `orbitflow sim` and `orbitflow study run`, as a person meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reference.commands import invoker

SIM = ["sim", "--trace", "tiny.jsonl", "--kv-capacity-tokens", "4000"]
POLICIES = [f"--policy={name}" for name in ("no-offload", "dynamic", "preempt-recompute")]
FIGURES = {"timely_share", "slo_attainment", "ttft_attainment", "tpot_attainment", "goodput_rps"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with one small trace, in which `preempt-recompute` must drop KV."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    requests = [(0, 1900, 400), (100, 1700, 400), (900, 200, 1)]
    lines = [
        json.dumps({"timestamp": at, "input_length": prompt, "output_length": output})
        for at, prompt, output in requests
    ]
    Path("tiny.jsonl").write_text("\n".join(lines) + "\n")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command in this process; what it prints."""
    invoke = invoker(monkeypatch, capfd)

    def run(*arguments: str) -> str:
        result = invoke(*arguments)
        assert result.code == 0, result.err
        return result.out

    return run


def read(path: str) -> Any:
    return json.loads(Path(path).read_text())


def test_sim_has_the_bound_and_shares_of_it(call: Callable[..., str]) -> None:
    shown = call(*SIM, *POLICIES, "--bound", "--out", "a")
    another = [sys.executable, "-m", "orbitflow", *SIM, *POLICIES, "--bound", "--out", "b"]
    subprocess.run(another, capture_output=True, check=True)  # other hashes, the same bytes
    assert Path("a/summary.json").read_bytes() == Path("b/summary.json").read_bytes()
    content = read("a/summary.json")
    assert set(content["bound"]) == FIGURES
    policies = content["policies"]
    for name in ("no-offload", "dynamic"):
        shares = policies[name]["share_of_bound"]
        assert set(shares) == FIGURES
        for figure, value in shares.items():
            assert value == policies[name][figure] / content["bound"][figure] <= 1
    assert policies["preempt-recompute"]["dropped"] > 0
    assert policies["preempt-recompute"]["share_of_bound"] is None
    rows = [line for line in shown.splitlines() if "of the bound" in line]
    assert len(rows) == 4  # three of figures, one note
    assert "no share of the bound for preempt-recompute: " in rows[-1]
    assert [cell.strip() for cell in rows[0].split("│")][4] == "n/a"
    heading = next(line for line in shown.splitlines() if "no-offload" in line)
    assert heading.rstrip("┃ ").endswith("bound")


def test_without_it_sim_is_as_before(call: Callable[..., str]) -> None:
    shown = call(*SIM, *POLICIES, "--out", "a")
    call(*SIM, *POLICIES, "--bound", "--out", "b")
    assert "bound" not in shown
    plain, bounded = read("a/summary.json"), read("b/summary.json")
    assert "bound" not in json.dumps(plain)
    del bounded["bound"]
    for policy in bounded["policies"].values():
        del policy["share_of_bound"]
    assert plain == bounded
    for path in Path("a").rglob("*"):
        if path.name not in ("summary.json", "env.json") and path.is_file():
            assert path.read_bytes() == (Path("b") / path.relative_to("a")).read_bytes()


def test_a_study_with_bounds_from_end_to_end(call: Callable[..., str]) -> None:
    study = ["study", "run", "--trace", "tiny.jsonl", "--grid", "slo_scale=1,2", "--seeds", "2"]
    study += ["--policy", "no-offload", "--policy", "dynamic"]
    shown = call(*study, "--bound", "--out", "s", "--workers", "2")
    assert shown.count("│ bound ") == 2
    assert shown.count("of bound %") == 3
    rows = Path("s/cells.jsonl").read_bytes()
    assert rows.count(b"\n") == 2 * 2 * 2 + 2 * 2
    summary = Path("s/summary.json").read_bytes()
    cells = json.loads(summary)["cells"]
    assert all(set(cell["bound"]) == FIGURES for cell in cells)
    assert all(set(cell["bound"]["goodput_rps"]) == {"mean", "half_width"} for cell in cells)
    assert "bound" not in call(*study, "--out", "s")
    call(*study, "--bound", "--out", "s")
    assert Path("s/cells.jsonl").read_bytes() == rows
    assert Path("s/summary.json").read_bytes() == summary
