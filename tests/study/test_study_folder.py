"""What is on disk when a study is killed, when the disk is full, and in another's folder."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from orbitflow.errors import UserError
from orbitflow.study.folder import StudyFolder
from orbitflow.study.runner import unfinished
from orbitflow.study.stored import Row
from orbitflow.study.study import Study
from study.conftest import MakeStudy

OUT = Path("out")
CELLS = OUT / "cells.jsonl"


def rows_for(study: Study) -> list[Row]:
    """A good row for every simulation, with characters of several bytes."""
    return [
        {
            "cell": job.cell.values,
            "seed": job.seed,
            "status": "ok",
            "error": None,
            "slo_tbt_s": 0.1,
            "figures": {"timely_share": 0.5, "note": "µ" * 30},
        }
        for job in study.simulations()
    ]


@pytest.fixture
def study(make_study: MakeStudy) -> Study:
    return make_study("slo_scale=1,2,3", policies=["dynamic"])


Failing = Callable[[int, bytes], int]


def full_after(room: int) -> Failing:
    """A disk with so much room: the write that hits its end is short, the next one fails."""
    left = [room]

    def write(file: int, content: bytes) -> int:
        taken = min(len(content), left[0])
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= taken
        return _write(file, content[:taken])

    return write


_write = os.write


def add_all(folder: StudyFolder, rows: Sequence[Row]) -> None:
    for row in rows:
        folder.add(row)


def test_a_full_disk_leaves_whole_rows_at_whatever_byte_it_is_full(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_for(study)
    sizes = [len(json.dumps(row)) + 1 for row in rows]
    for room in range(0, sum(sizes), 7):
        CELLS.unlink(missing_ok=True)
        with monkeypatch.context() as patch, StudyFolder(OUT, study) as folder:
            patch.setattr(os, "write", full_after(room))
            with pytest.raises(OSError, match=r"cells.jsonl cannot be written .*--out out goes on"):
                add_all(folder, rows)
            whole = len(folder.rows)
            assert sum(sizes[:whole]) <= room < sum(sizes[: whole + 1])
            assert CELLS.stat().st_size == sum(sizes[:whole])
            patch.undo()
            folder.add(rows[whole])  # the same open folder goes on as well
        with StudyFolder(OUT, study) as folder:
            assert len(folder.rows) == whole + 1
            for row in rows[whole + 1 :]:
                folder.add(row)
            assert not unfinished(study, folder.rows)
        assert [json.loads(line) for line in CELLS.read_text().splitlines()] == rows


def test_half_a_row_that_cannot_be_cut_off_is_cut_off_when_it_goes_on(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, "broken")

    rows = rows_for(study)
    with monkeypatch.context() as patch, StudyFolder(OUT, study) as folder:
        patch.setattr(os, "write", full_after(30))
        patch.setattr(os, "ftruncate", refuse)
        with pytest.raises(OSError, match="cannot be written"):
            folder.add(rows[0])
    assert CELLS.stat().st_size == 30
    with StudyFolder(OUT, study) as folder:
        assert not folder.rows
        folder.add(rows[0])
    assert json.loads(CELLS.read_text()) == rows[0]


def test_a_summary_that_does_not_fit_leaves_the_old_one(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with StudyFolder(OUT, study) as folder:
        folder.write_summary({"old": True})
        monkeypatch.setattr(Path, "write_text", refuse)
        with pytest.raises(OSError, match=r"summary.json cannot be written \(No space"):
            folder.write_summary({"old": False})
    assert json.loads((OUT / "summary.json").read_text()) == {"old": True}
    assert not list(OUT.glob("*.partial"))


@pytest.mark.parametrize("began", [True, False])
def test_what_a_killed_process_was_writing_is_cleared(study: Study, *, began: bool) -> None:
    if began:
        StudyFolder(OUT, study).close()
    else:
        OUT.mkdir()
    (OUT / "study.json.123.partial").write_text("{")
    with StudyFolder(OUT, study):
        assert not list(OUT.glob("*.partial"))
    assert json.loads((OUT / "study.json").read_text())


SCALES = [1.0, 1.2, 1.4, 1.6, 1.8]
FEW = SCALES[:3]  # each kill costs the start of a process


def command(scales: Sequence[float]) -> list[str]:
    grid = f"slo_scale={','.join(map(str, scales))}"
    return [
        *(sys.executable, "-m", "orbitflow", "study", "run", "--trace", "tiny.jsonl", "--quiet"),
        *("--policy", "dynamic", "--grid", grid, "--out", "out", "--workers", "1"),
    ]


def scales() -> list[float]:
    return [json.loads(line)["cell"]["slo_scale"] for line in CELLS.read_text().splitlines()]


@pytest.mark.slow
def test_a_file_that_may_not_grow_is_one_line_and_the_same_command_goes_on() -> None:
    """The limit on file sizes hits in the middle of a row, as a full disk does."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))

    done = subprocess.run(
        command(SCALES), capture_output=True, text=True, preexec_fn=limit, check=False
    )
    assert done.returncode == 1
    assert "orbitflow: out/cells.jsonl cannot be written (" in done.stderr
    assert "the same command with --out out goes on" in done.stderr
    assert "Traceback" not in done.stderr
    content = CELLS.read_bytes()
    assert 0 < content.count(b"\n") < len(SCALES)
    assert content.endswith(b"\n")
    again = subprocess.run(command(SCALES), capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert CELLS.read_bytes().startswith(content)
    assert sorted(scales()) == SCALES


@pytest.mark.slow
def test_a_study_killed_at_any_moment_goes_on() -> None:
    """Killed after some rows, over and over: rows stay whole, none is lost, none comes twice."""
    kills = 0
    while kills < 20:
        process = subprocess.Popen(
            command(FEW),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        before = CELLS.read_bytes() if CELLS.exists() else b""
        while process.poll() is None:
            now = CELLS.read_bytes() if CELLS.exists() else b""
            if now.count(b"\n") > before.count(b"\n"):
                break
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        assert CELLS.read_bytes().startswith(before)
        for line in CELLS.read_bytes().splitlines():
            assert json.loads(line)["status"] == "ok"
    done = subprocess.run(command(FEW), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert kills >= 2
    assert sorted(scales()) == FEW
    assert not list(OUT.glob("*.partial"))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("schema_version", 7, "schema version 7, orbitflow 0.2.0 goes on with 1: name a new"),
        ("orbitflow_version", "0.0.9", "begun by orbitflow 0.0.9, this is 0.2.0, whose figures"),
        (
            "schema_version",
            7,
            r"begun by another build of orbitflow 0\.2\.0 with schema version 7",
        ),
        ("orbitflow_version", None, "begun by an orbitflow of no known version, this is 0.2.0"),
        (
            "grid",
            {"solver": ["auto", "cbc"]},
            r"begun by another build of orbitflow 0\.2\.0 with --solver cbc,",
        ),
        (
            "base",
            {"solver": "highs"},
            "with --solver highs, which this one has no more: name a new",
        ),
        ("grid", {"slo_scale": [9]}, r"another study \(it differs in grid\)"),
    ],
)
def test_a_study_of_another_version_is_refused_and_left_alone(
    study: Study, key: str, value: object, said: str
) -> None:
    with StudyFolder(OUT, study) as folder:
        folder.add(rows_for(study)[0])
    content = json.loads((OUT / "study.json").read_text())
    text = json.dumps({**content, key: value})
    (OUT / "study.json").write_text(text)
    before = CELLS.read_bytes()
    with pytest.raises(UserError, match=said) as refusal:
        StudyFolder(OUT, study)
    assert "\n" not in str(refusal.value)
    assert (OUT / "study.json").read_text() == text
    assert CELLS.read_bytes() == before


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00"])
def test_a_broken_study_is_refused(study: Study, text: str) -> None:
    with StudyFolder(OUT, study):
        pass
    (OUT / "study.json").write_text(text)
    with pytest.raises(UserError, match=r"out/study\.json is (broken|not JSON)"):
        StudyFolder(OUT, study)
