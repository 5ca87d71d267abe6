"""`orbitflow study capacity` as a person meets it, mostly in processes of its own."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orbitflow.cli import main

PROGRAM = [sys.executable, "-m", "orbitflow", "study", "capacity"]
QUESTION = ["--trace", "demo", "--policy", "no-offload", "--policy", "dynamic",
            "--target", "slo_attainment=0.9",
            "--seeds", "2", "--workers", "2", "--tolerance", "20%"]  # fmt: skip


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=False)


def here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[object, str, str]:
    """The same in this process, whose start costs a second: exit code, stdout, stderr."""
    monkeypatch.setattr("sys.argv", ["orbitflow", "study", "capacity", *arguments])
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main()
    return exit_.value.code or 0, *capsys.readouterr()


def test_a_question_from_end_to_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(*QUESTION)
    assert done.returncode == 0, done.stderr
    folder = Path("studies/demo-1")
    content = json.loads((folder / "capacity.json").read_text())
    assert content["schema_version"] == 1
    assert content["targets"] == [{"figure": "slo_attainment", "at_least": 0.9}]
    assert content["vary"]["key"] == "rate_scale"
    for answer in content["answers"]:
        assert answer["outcome"] == "found"
        met, missed = answer["met"], answer["missed"]
        assert answer["answer"] == met["value"] < missed["value"] <= 1.2 * met["value"]
        assert met["figures"]["slo_attainment"]["mean"] >= 0.9
        assert missed["figures"]["slo_attainment"]["mean"] < 0.9
        assert met["requests_per_s"] == pytest.approx(24 / 25.271 * met["value"], rel=0.01)
    for said in ("highest", "24 requests", "crossing", "studies/demo-1/capacity.json"):
        assert said in done.stdout
    for said in ("highest rate_scale with slo_attainment >= 0.9", "--arrival-jitter 0.01"):
        assert said in done.stderr
    rows = (folder / "cells.jsonl").read_text()
    _, out, err = here(monkeypatch, capsys, *QUESTION, "--out", str(folder), "--json")
    assert json.loads(out) == content
    assert err == ""
    assert (folder / "cells.jsonl").read_text() == rows
    listed = json.loads((folder / "summary.json").read_text())
    tested = sum(len(answer["tested"]) for answer in content["answers"])
    assert len(listed["cells"]) == tested


def test_no_crossing_is_an_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = here(
        monkeypatch, capsys, "--trace", "tiny.jsonl", "--policy", "dynamic", "--workers", "1",
        "--target", "slo_attainment=1", "--vary", "kv-capacity-tokens=4000..8000",
        "--slo-tbt", "1ms", "--seeds", "1",
    )  # fmt: skip
    assert code == 0, err
    assert "the target is met nowhere, tested from 8,000 to 4,000" in out.replace("\n", " ")
    content = json.loads(Path("studies/tiny-1/capacity.json").read_text())
    assert content["answers"][0]["answer"] is None
    assert content["answers"][0]["outcome"] == "met_nowhere"


def test_answers_that_could_not_be_written_say_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if target.name == "capacity.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    ask = ["--trace", "tiny.jsonl", "--policy", "dynamic", "--target", "failed=0"]
    ask += ["--vary", "rate-scale=1..2", "--seeds", "1", "--workers", "1", "--out", "out"]
    monkeypatch.setattr("sys.argv", ["orbitflow", "study", "capacity", *ask])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 1
    err = capsys.readouterr().err
    assert "capacity.json cannot be written (No space left on device): free space there" in err
    assert "--out out goes on" in err
    assert {path.name for path in Path("out").iterdir()} == {
        *("study.json", "cells.jsonl", "summary.json", "lock")
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no target"),
        (["--target", "speed=1"], "no figure is called 'speed'"),
        (["--target", "failed=0", "--vary", "rate"], "did you mean rate_scale"),
        (["--target", "failed=0", "--tolerance", "fine"], "--tolerance: cannot read 'fine'"),
        (["--target", "failed=0", "--tolerance", "60%"], "--tolerance 0.6 must be"),
        (["--target", "failed=0", "--seeds", "0"], "--seeds 0 must be"),
        (["--target", "failed=0", "--workers", "0"], "--workers 0 must be"),
        (["--target", "failed=0", "--policy", "dynamo"], "did you mean dynamic"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        "sys.argv", ["orbitflow", "study", "capacity", "--trace", "tiny.jsonl", *arguments]
    )
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    out, err = capsys.readouterr()
    assert said in err
    assert len(err.splitlines()) == 1
    assert out == ""
    assert [path.name for path in Path().iterdir()] == ["tiny.jsonl"]
