"""The study of the paper from end to end, on workloads of two requests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.paper.__main__ import paper
from benchmarks.paper.experiments import FULL, QUICK, Scope, all_points, figures
from benchmarks.paper.measured import Measured, difference, quotient
from benchmarks.paper.plan import plan_paper
from benchmarks.paper.points import A5000, Point, Setting, config_of
from benchmarks.paper.run import run
from benchmarks.paper.systems import DYNAMIC, ORBITFLOW, with_victim
from orbitflow.cli import main
from orbitflow.config import RunConfig
from orbitflow.errors import UserError
from orbitflow.study.folder import StudyFolder
from orbitflow.study.statistics import Estimate

TINY = Scope(
    seeds=1,
    requests=2,
    scales=(1.5,),
    rates=(2.0,),
    cvs=(1.0,),
    batches=(4,),
    contexts=(0.25,),
    parallel=False,
)


def test_a_point_is_one_configuration() -> None:
    setting = Setting(rate=5.0, cv=4.0, batch=8, requests=7, slo_scale=1.0)
    config = config_of(Point(ORBITFLOW, setting).cell, 3)
    assert config == RunConfig(
        trace="paper:requests=7,rate=5,cv=4,batch=8,seed=3",
        profile=A5000,
        policies=("orbitflow",),
        slo_scale=1.0,
        no_gate=True,
        victim=with_victim("longest").options[1][1],  # type: ignore[arg-type]
        seed=3,
    )
    values = Point(DYNAMIC, setting).cell.values
    assert {name: values[name] for name in ("rate", "slo_scale")} == {"rate": 5.0, "slo_scale": 1.0}
    assert set(asdict(setting)) < set(values)


@pytest.mark.parametrize("scope", [FULL, QUICK, TINY])
def test_figures_share_their_points(scope: Scope) -> None:
    wanted = figures(scope)
    points = all_points(wanted)
    asked = [point.cell.id for figure in wanted for point in figure.points()]
    study = plan_paper(points, scope.seeds)
    assert len(study.points) == len(set(asked)) < len(asked)
    jobs = study.jobs()
    assert len(jobs) == len(set(jobs)) == scope.seeds * len(study.points)
    assert [job.seed for job in jobs] == sorted(job.seed for job in jobs)
    for figure in wanted:
        assert {len(columns) for _, columns in figure.sections} == {len(figure.columns)}


def test_every_workload_has_its_own_limit() -> None:
    settings = [Setting(requests=5), Setting(requests=5, context=0.25), Setting(slo_scale=3.0)]
    study = plan_paper([Point(DYNAMIC, setting) for setting in settings], 1)
    full_s = [study.slo(job).tbt_limit_s / study.config(job).slo_scale for job in study.jobs()]
    assert full_s[1] < full_s[0] < full_s[2]  # a quarter, five requests, fifty-two


def test_comparisons_are_made_seed_by_seed() -> None:
    one, other = (Point(system, Setting()) for system in (DYNAMIC, ORBITFLOW))
    rows = {
        (point.cell.id, seed): {
            "cell": point.cell.values, "seed": seed, "status": status, "error": None,
            "slo_tbt_s": 0.1, "figures": {"x": value},
        }
        for point, seed, status, value in [
            (one, 0, "ok", 4.0), (one, 1, "ok", 9.0), (one, 2, "ok", 5.0), (one, 3, "ok", None),
            (other, 0, "ok", 2.0), (other, 1, "ok", 3.0), (other, 2, "failed", 1.0),
            (one, 4, "ok", 4.0), (other, 4, "ok", 0.0),
        ]
    }  # fmt: skip
    measured = Measured(rows)
    assert measured.runs(one) == 5
    assert measured.of(one, "x") is not None
    found = measured.paired(one, other, "x", quotient)
    assert found is not None
    assert found.mean == 2.5  # (4/2 + 9/3) / 2, not 6/2.5
    apart = measured.paired(one, other, "x", difference)
    assert apart is not None
    assert apart.mean == 4.0  # (2 + 6 + 4) / 3: an attainment of 0 is a figure
    assert measured.of(one, "y") is None
    assert measured.paired(one, other, "y", quotient) is None
    assert isinstance(found, Estimate)


def whole(out: Path) -> tuple[bytes, bytes]:
    return (out / "summary.json").read_bytes(), (out / "paper.md").read_bytes()


@pytest.mark.slow
def test_killed_and_gone_on_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(TINY, tmp_path / "a", workers=2, as_json=True, quiet=True)
    printed = capsys.readouterr().out
    assert json.loads(printed) == json.loads((tmp_path / "a/summary.json").read_text())
    code = (
        "from pathlib import Path\n"
        "from benchmarks.paper.run import run\n"
        "from paper.test_paper_study import TINY\n"
        "if __name__ == '__main__':\n"
        f"    run(TINY, Path({str(tmp_path / 'b')!r}), workers=1, as_json=False, quiet=True)\n"
    )
    (tmp_path / "go.py").write_text(code)
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    broken = subprocess.Popen(
        [sys.executable, str(tmp_path / "go.py")], env={**os.environ, "PYTHONPATH": path}
    )
    rows = tmp_path / "b/cells.jsonl"
    while broken.poll() is None and not (rows.exists() and rows.read_bytes().count(b"\n") > 2):
        time.sleep(0.02)
    broken.send_signal(signal.SIGKILL)
    broken.wait()
    before = rows.read_bytes().count(b"\n")
    assert 2 < before < len(all_points(figures(TINY)))
    with rows.open("ab") as torn:
        torn.write(b'{"cell": {"pol')
    run(TINY, tmp_path / "b", workers=2, as_json=False, quiet=True)
    assert whole(tmp_path / "a") == whole(tmp_path / "b")
    shown = capsys.readouterr()
    assert "Published numbers beside ours" in shown.out
    assert shown.err == ""
    assert max(len(line) for line in shown.out.splitlines()) <= 120
    text = (tmp_path / "b/paper.md").read_text()
    assert text.count("\n## ") == len(figures(TINY)) + 1
    content = json.loads(printed)
    assert content["schema_version"] == 1
    assert content["failed"] == 0
    assert all(row["sentence"] for row in content["compared"])
    for figure in content["figures"]:
        for point in figure["points"]:
            assert point["seeds"] == 1
            assert point["figures"]["paper.tbt_attainment"] is not None


def test_another_study_is_not_gone_on_with(tmp_path: Path) -> None:
    points = all_points(figures(TINY))
    with StudyFolder(tmp_path / "s", plan_paper(points, 1)):
        pass
    with (
        pytest.raises(UserError, match="another study"),
        StudyFolder(tmp_path / "s", plan_paper(points, 2)),
    ):
        pass


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "0"], "--workers 0 must be at least 1"),
        (["--out", "."], "--out . holds something else than a study: name a new folder"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("thesis.txt").touch()
    assert paper(["--quick", *words]) == 2
    assert capsys.readouterr().err == f"paper: {said}\n"


@pytest.mark.parametrize("words", [[], ["--quick"], ["--out", "x", "--workers", "2"]])
def test_the_old_command_says_where_it_has_gone(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["orbitflow", "study", "paper", *words])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    said = "orbitflow: moved: run scripts/paper --quick in a clone of the repository\n"
    assert capsys.readouterr().err == said
