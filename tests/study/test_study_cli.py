"""`orbitflow study run` as a person meets it, in processes of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orbitflow.cli import main

PROGRAM = [sys.executable, "-m", "orbitflow", "study", "run", "--trace", "tiny.jsonl"]
GRID = ["--grid", "policy=no-offload,static-1", "--grid", "kv-capacity-tokens=8000,40000"]


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=False)


def test_a_study_from_end_to_end() -> None:
    done = call(*GRID, "--seeds", "2", "--workers", "2", "--slo-tbt", "150ms")
    assert done.returncode == 0, done.stderr
    folder = Path("studies/tiny-1")
    content = json.loads((folder / "summary.json").read_text())
    assert content["schema_version"] == 1
    assert content["slo"] == {"tau_s": 0.15, "origin": "--slo-tbt"}
    assert content["grid"] == {
        "policy": ["no-offload", "static-1"],
        "kv_capacity_tokens": [8000, 40000],
    }
    assert [cell["ok"] for cell in content["cells"]] == [2] * 4
    assert all(cell["slo_tbt_s"] == 0.15 for cell in content["cells"])
    assert set(content["cells"][0]["figures"]["timely_share"]) == {"mean", "half_width"}
    for said in ("kv_capacity_tokens", "timely %", "±", "results in studies/tiny-1"):
        assert said in done.stdout
    for said in ("4 cells x 2 seeds", "--arrival-jitter 0.01", "100 % of 8 simulations"):
        assert said in done.stderr
    same = [*GRID, "--seeds", "2", "--slo-tbt", "150ms"]
    again = call(*same, "--json", "--out", str(folder))
    assert json.loads(again.stdout) == content
    assert again.stderr == ""


def test_a_failing_cell_is_told_and_exits_1() -> None:
    """A prompt of a billion tokens and more is refused when the trace is scaled."""
    done = call("--policy", "no-offload", "--grid", "context-scale=1,1e6", "--out", "out")
    assert done.returncode == 1
    assert "1 of 2 simulations failed" in done.stderr
    assert "Traceback" not in done.stderr
    assert "context_scale=1000000.0: 1 of 1 failed; UserError: --context-scale" in done.stdout
    rows = [json.loads(line) for line in Path("out/cells.jsonl").read_text().splitlines()]
    assert sorted(row["status"] for row in rows) == ["failed", "ok"]
    assert json.loads(Path("out/summary.json").read_text())["cells"][1]["failed"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the grid is empty"),
        (["--grid", "slo_scal=1,2"], "did you mean slo_scale"),
        (["--grid", "slo_scale=1,-1"], "--slo-scale -1.0 must be"),
        (["--grid", "slo_scale=1,2", "--slo-tbt", "1s"], "--slo-tbt stands instead of --slo-scale"),
        (
            ["--grid", "gpu_memory=16GiB,24GiB", "--kv-capacity-tokens", "9000"],
            "--gpu-memory: leave",
        ),
        (["--grid", "solver=auto,cbc"], "--solver cbc was removed: leave --solver out"),
        (["--grid", "slo_tbt=100,200ms"], "'100' has no unit: write 100ms or 100s"),
        (["--grid", "slo_scale=1", "--workers", "0"], "--workers 0 must be at least 1"),
        (["--grid", "slo_scale=1", "--slo-ttft", "soon"], "--slo-ttft: cannot read 'soon'"),
        (["--grid", "slo_scale=1", "--out", "tiny.jsonl/x"], "--out tiny.jsonl/x cannot be made"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        "sys.argv", ["orbitflow", "study", "run", "--trace", "tiny.jsonl", *arguments]
    )
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    out, err = capsys.readouterr()
    assert said in err
    assert len(err.splitlines()) == 1
    assert out == ""
    assert [path.name for path in Path().iterdir()] == ["tiny.jsonl"]
