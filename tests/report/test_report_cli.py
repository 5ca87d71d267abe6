"""`orbitflow report` as a person meets it: what it writes, and how it says no."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference.commands import Invoke, Result, invoker

Copy = Callable[[str], Path]


@pytest.fixture
def report(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Invoke:
    """Run the command in an empty folder."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    invoke = invoker(monkeypatch, capfd)
    return lambda *arguments: invoke("report", *arguments)


def refused(result: Result, *said: str) -> None:
    """One clear line on stderr, nothing on stdout, nothing on disk."""
    assert result.code == 2, result
    assert result.out == ""
    assert result.err.count("\n") == 1, result.err
    assert result.err.startswith("orbitflow: ")
    for text in said:
        assert text in result.err
    assert not list(Path().iterdir())


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit a JSON file."""
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def test_it_writes_one_file(report: Invoke, folders: Path) -> None:
    done = report(str(folders / "run"), str(folders / "study"), "-o", "r.html")
    assert done.code == 0, done.err
    assert done.err == ""
    assert done.out.startswith("report in r.html (")
    assert [path.name for path in Path().iterdir()] == ["r.html"]
    before = Path("r.html").read_bytes()
    assert report(str(folders / "run"), str(folders / "study"), "-o", "r.html", "-q").out == ""
    assert Path("r.html").read_bytes() == before, "the same input must give the same bytes"


def test_different_slos_are_said(report: Invoke, folders: Path) -> None:
    done = report(str(folders / "run"), str(folders / "other"))
    assert done.code == 0, done.err
    assert "2 different SLOs" in done.err
    assert "2 different SLOs" in Path("report.html").read_text()


def test_a_folder_named_twice_counts_once(report: Invoke, folders: Path) -> None:
    assert report(str(folders / "other")).code == 0
    once = Path("report.html").read_bytes()
    again = os.path.relpath(folders / "other")
    assert report(again, str(folders / "other")).code == 0
    assert Path("report.html").read_bytes() == once


def test_an_incomplete_run_is_said(report: Invoke, copy: Copy) -> None:
    run = copy("run")
    (run / "INCOMPLETE").write_text("This run has not finished: <b>no power</b>\n")
    done = report(str(run))
    assert done.code == 0, done.err
    assert "run is INCOMPLETE: This run has not finished" in done.err
    page = Path("report.html").read_text()
    assert "run is INCOMPLETE" in page
    assert "<b>no power" not in page


def test_an_unfinished_study_is_said(report: Invoke, copy: Copy) -> None:
    study = copy("study")
    rows = (study / "cells.jsonl").read_text().splitlines()
    (study / "cells.jsonl").write_text("\n".join(rows[:-3]) + "\n" + rows[-1][:40])
    done = report(str(study))
    assert done.code == 0, done.err
    assert "29 of 32 simulations" in done.err
    assert "29 of 32 simulations" in Path("report.html").read_text()


def test_searches_and_capacity_questions_are_unfinished_without_a_summary(
    report: Invoke, copy: Copy
) -> None:
    for name in ("search", "capacity"):
        study = copy(name)
        assert "not finished" not in report(str(study)).err
        (study / "summary.json").unlink()
        assert re.search(r"has \d+ simulations: it has not finished", report(str(study)).err)


def _nothing(run: Path) -> None:
    shutil.rmtree(run)


def _a_file(run: Path) -> None:
    shutil.rmtree(run)
    run.write_text("")


def _strange(run: Path) -> None:
    (run / "summary.json").unlink()


def _without_figures(run: Path) -> None:
    (run / "summary.json").unlink()
    (run / "INCOMPLETE").write_text("This run has not finished.\n")


def _newer(run: Path) -> None:
    change(run / "summary.json", lambda document: document.update(schema_version=2))


def _older(run: Path) -> None:
    change(run / "summary.json", lambda document: document["profile"].pop("layers"))


def _not_json(run: Path) -> None:
    (run / "summary.json").write_text("{")


def _a_list(run: Path) -> None:
    (run / "summary.json").write_text("[]")


def _without_slo(run: Path) -> None:
    change(run / "summary.json", lambda document: document.pop("slo"))


def _without_policies(run: Path) -> None:
    change(run / "summary.json", lambda document: document.update(policies={}))


def _without_device(run: Path) -> None:
    change(run / "summary.json", lambda document: document.update(backend={}))


def _figures_are_text(run: Path) -> None:
    change(run / "summary.json", lambda document: document["policies"].update(dynamic="good"))


def _torn(run: Path) -> None:
    path = run / "dynamic" / "requests.jsonl"
    path.write_bytes(path.read_bytes()[:-20])


def _fewer_columns(run: Path) -> None:
    np.savez(run / "dynamic" / "steps.npz", start_s=np.zeros(1))


def _bad_line(run: Path) -> None:
    path = run / "dynamic" / "requests.jsonl"
    path.write_text("{}{\n" + path.read_text())


def _strange_line(run: Path) -> None:
    (run / "dynamic" / "decisions.jsonl").write_text('{"t_s": 1}\n')


def _without_steps(run: Path) -> None:
    (run / "dynamic" / "steps.npz").unlink()


def _broken_steps(run: Path) -> None:
    path = run / "dynamic" / "steps.npz"
    path.write_bytes(path.read_bytes()[:300])


def _without_gaps(run: Path) -> None:
    (run / "dynamic" / "tbt.npz").unlink()


@pytest.mark.parametrize(
    ("breaks", "said"),
    [
        (_nothing, "does not exist"),
        (_a_file, "is no folder"),
        (_strange, "neither a run nor a study"),
        (_without_figures, "did not finish"),
        (_newer, "schema_version 2, written by orbitflow"),
        (_older, "lacks profile.layers"),
        (_not_json, "summary.json is not JSON: line 1"),
        (_a_list, "no document of orbitflow"),
        (_without_slo, "no run's summary"),
        (_without_policies, "no policy"),
        (_without_device, "no run's summary (KeyError('device'))"),
        (_figures_are_text, "no run's summary"),
        (_torn, "has 4 whole lines, the summary is of 5 requests"),
        (_fewer_columns, "steps.npz lacks end_s"),
        (_bad_line, "requests.jsonl:1 cannot be read"),
        (
            _strange_line,
            "decisions.jsonl:1 cannot be read by this version (Object missing required field",
        ),
        (_without_steps, "steps.npz cannot be read (No such file"),
        (_broken_steps, "steps.npz is broken"),
        (_without_gaps, "tbt.npz cannot be read"),
    ],
)
def test_a_run_that_cannot_be_read(
    report: Invoke, copy: Copy, breaks: Callable[[Path], None], said: str
) -> None:
    run = copy("run")
    breaks(run)
    refused(report(str(run)), said, "run")


def _study_version(study: Path) -> None:
    change(study / "study.json", lambda document: document.update(schema_version=9))


def _study_broken(study: Path) -> None:
    (study / "study.json").write_text("[1]")


def _study_empty(study: Path) -> None:
    (study / "cells.jsonl").unlink()


def _study_figures(study: Path) -> None:
    row = json.loads((study / "cells.jsonl").read_text().splitlines()[0])
    (study / "cells.jsonl").write_text(json.dumps({**row, "figures": None}) + "\n")


def _study_of_paper(study: Path) -> None:
    document = {"schema_version": 1, "study": "paper", "points": [], "seeds": 2}
    (study / "study.json").write_text(json.dumps(document))


def _study_row(study: Path) -> None:
    (study / "cells.jsonl").write_text('{"cell": 3}\n')


@pytest.mark.parametrize(
    ("breaks", "said"),
    [
        (_study_version, "has schema_version 9, orbitflow"),
        (_study_broken, "no study's definition"),
        (_study_empty, "no finished simulation"),
        (_study_figures, "cells.jsonl:1 is not a row"),
        (_study_of_paper, "paper.md"),
        (_study_row, "cells.jsonl:1 is not a row"),
    ],
)
def test_a_study_that_cannot_be_read(
    report: Invoke, copy: Copy, breaks: Callable[[Path], None], said: str
) -> None:
    study = copy("study")
    breaks(study)
    refused(report(str(study)), said)


@pytest.mark.parametrize(
    ("out", "said"),
    [("/", "it is a folder"), ("no/such/r.html", "there is no folder no/such")],
)
def test_where_it_cannot_write(report: Invoke, folders: Path, out: str, said: str) -> None:
    refused(report(str(folders / "run"), "-o", out), f"-o {out} cannot be written", said)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(report: Invoke, folders: Path, tmp_path: Path) -> None:
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o500)
    refused(report(str(folders / "run"), "-o", str(shut / "r.html")), "may not be written to")


def test_nothing_is_left_of_a_page_that_could_not_be_written(
    report: Invoke, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    refused(report(str(folders / "other")), "No space left on device")


def test_without_the_extra(report: Invoke, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refused(report(str(folders / "run")), "pip install -e '.[report]'")


def test_without_a_folder(report: Invoke) -> None:
    refused(report(), "Missing argument")
