"""Fronts: by their definition, with ties and missing figures, from half-written folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitflow.cli import main
from orbitflow.errors import UserError
from orbitflow.study.grid import Cell
from orbitflow.study.pareto import Criterion, Front, dominators, fronts, read_criteria
from orbitflow.study.statistics import Estimate
from orbitflow.study.stored import StoredCell, StoredStudy, StudyProgress, read_study

POINTS = st.lists(st.tuples(*[st.integers(0, 5)] * 3).map(lambda t: tuple(map(float, t))))


def beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """The definition, word for word."""
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


@settings(derandomize=True, max_examples=100)
@given(points=POINTS)
def test_fronts_by_definition(points: list[tuple[float, ...]]) -> None:
    found = dominators(points)
    front = {index for index, by in enumerate(found) if by is None}
    for index, point in enumerate(points):
        others = [other for other in points if beats(other, point)]
        assert (index in front) == (not others)
        if (by := found[index]) is not None:
            assert by in front
            assert beats(points[by], point)


def study_of(cells: list[tuple[str, dict[str, float]]]) -> StoredStudy:
    return StoredStudy(
        Path("here"),
        "t",
        ("policy", "gpus"),
        tuple(
            StoredCell(
                Cell((("policy", name), ("gpus", number % 3))),
                0.1,
                1,
                0,
                {key: Estimate(value, None) for key, value in figures.items()},
            )
            for number, (name, figures) in enumerate(cells)
        ),
        StudyProgress(len(cells), len(cells), True),
    )


@settings(derandomize=True, max_examples=40)
@given(points=POINTS, data=st.data())
def test_the_order_of_the_cells_does_not_matter(
    points: list[tuple[float, ...]], data: st.DataObject
) -> None:
    names = ("a", "b", "c")
    cells = [(f"static-{i + 1}", dict(zip(names, p, strict=True))) for i, p in enumerate(points)]
    objectives = [Criterion("a", False), Criterion("b", True), Criterion("c", False)]
    one = study_of(cells)
    other = one._replace(cells=tuple(data.draw(st.permutations(one.cells))))
    assert fronts(one, objectives) == fronts(other, objectives)


def test_ties_are_on_the_front_together_and_the_unknown_beside_it() -> None:
    study = study_of(
        [
            ("static-1", {"a": 1.0, "b": 5.0}),
            ("static-2", {"a": 1.0, "b": 5.0}),
            ("static-3", {"a": 2.0, "b": 5.0}),
            ("static-4", {"a": 3.0, "b": 6.0}),
            ("static-5", {"a": 0.5}),
        ]
    )
    (front,) = fronts(study, [Criterion("a", False), Criterion("b", True)])
    assert [cell.cell.policy for cell in front.members] == ["static-1", "static-2", "static-4"]
    assert [(d.cell.cell.policy, d.by.cell.policy) for d in front.dominated] == [
        ("static-3", "static-1")
    ]
    assert [cell.cell.policy for cell in front.unknown] == ["static-5"]
    grouped = fronts(study, [Criterion("a", False), Criterion("b", True)], ["gpus"])
    assert [front.group.values for front in grouped] == [{"gpus": 0}, {"gpus": 1}, {"gpus": 2}]
    (down,) = fronts(study, [Criterion("b", True), Criterion("a", False)])
    assert [cell.cell.policy for cell in down.members] == ["static-4", "static-1", "static-2"]


def test_a_key_of_the_grid_can_be_an_objective() -> None:
    study = study_of([(f"static-{i + 1}", {"a": float(a)}) for i, a in enumerate((5, 6, 6))])
    wanted = read_criteria(study, ["a"], ["gpus"], [])
    assert wanted == [Criterion("a", False), Criterion("gpus", False)]
    (front,) = fronts(study, wanted)
    assert [cell.cell.policy for cell in front.members] == ["static-1"]


@pytest.mark.parametrize(
    ("named", "least", "said"),
    [
        ([], ["a"], "two figures or more"),
        (["a", "bb"], [], "no cell has a figure 'bb'"),
        (["a"], ["a"], "a is named twice"),
        (["a", "gpus"], [], "say --minimize gpus"),
        (["a", "link.busy_share"], [], "link.busy_share is not better one way"),
    ],
)
def test_mistakes(named: list[str], least: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_criteria(
            study_of([("static-1", {"a": 1.0, "link.busy_share": 0.5})]), named, least, []
        )


def write_folder(rows: list[dict[str, Any]], tail: str = "") -> Path:
    folder = Path("study")
    folder.mkdir()
    grid = {"policy": ["no-offload", "dynamic", "static-1", "static-2"]}
    definition = {"schema_version": 1, "base": {"trace": "x/tiny.jsonl"}, "grid": grid, "seeds": 2}
    (folder / "study.json").write_text(json.dumps(definition))
    (folder / "cells.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)
    return folder


def row(policy: str, seed: int, slo: float | None, ttft: float, **more: Any) -> dict[str, Any]:
    figures = {"slo_attainment": slo, "ttft_s.p95": ttft}
    return {"cell": {"policy": policy}, "seed": seed, "status": "ok", "error": None,
            "slo_tbt_s": 0.1, "figures": figures, **more}  # fmt: skip


ROWS = [
    row("no-offload", 0, 0.9, 2.0),
    row("no-offload", 0, 0.8, 2.0),  # tried again: the last row of a seed counts
    row("no-offload", 1, 1.0, 4.0),
    row("dynamic", 0, 0.9, 3.5),
    row("static-1", 0, 0.7, 1.0),
    row("static-2", 0, None, 0.5),
    row("static-2", 1, 0.5, 0.5, status="failed", error="ValueError: no", figures=None),
    {**row("static-9", 0, 1.0, 0.0), "cell": {}},  # a bound has no policy
]


def test_a_folder_is_read_without_being_changed() -> None:
    folder = write_folder(ROWS, tail='{"cell": {"pol')
    before = (folder / "cells.jsonl").read_bytes()
    study = read_study(folder)
    assert study.trace == "tiny"
    assert [cell.cell.policy for cell in study.cells] == [
        *("no-offload", "dynamic", "static-1", "static-2")
    ]
    assert study.cells[0].figures["slo_attainment"].mean == pytest.approx(0.9)
    assert (study.cells[3].ok, study.cells[3].failed) == (1, 1)
    (front,) = fronts(study, read_criteria(study, ["ttft_s.p95", "slo_attainment"], [], []))
    assert names(front) == ["static-1", "no-offload"]
    assert [d.cell.cell.policy for d in front.dominated] == ["dynamic"]
    assert [cell.cell.policy for cell in front.unknown] == ["static-2"]
    assert (folder / "cells.jsonl").read_bytes() == before


def names(front: Front) -> list[str]:
    return [cell.cell.policy for cell in front.members]


def shown(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["orbitflow", "study", "pareto", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code is None or isinstance(exit_.value.code, int)
    return exit_.value.code or 0


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(ROWS)
    asked = ["study", "--minimize", "ttft_s.p95", "--maximize", "slo_attainment"]
    assert shown(monkeypatch, *asked) == 0
    out = capsys.readouterr().out
    assert "dynamic" not in out
    assert "2 on the front, 1 dominated (--all shows them)" in out
    assert "1 cells lack a figure" in out
    assert "the study has not finished: 2 of 4 cells are done" in out
    assert shown(monkeypatch, *asked, "--all") == 0
    assert "policy=no-offload" in capsys.readouterr().out
    assert shown(monkeypatch, *asked, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["cells"] == {"done": 2, "planned": 4}
    (front,) = document["fronts"]
    assert [c["cell"]["policy"] for c in front["front"]] == ["static-1", "no-offload"]
    assert front["front"][1]["figures"]["slo_attainment"]["mean"] == pytest.approx(0.9)
    assert front["dominated"][0]["by"] == {"policy": "no-offload"}
    assert front["unknown"][0]["figures"]["slo_attainment"] is None


SEARCH = {"sampler": "random", "trials": 9, "objective": "slo_attainment", "direction": "max",
          "space": {"policy": {"choices": ["no-offload"]}}}  # fmt: skip


@pytest.mark.parametrize(
    ("more", "ended", "said"),
    [
        ({}, False, "the study has not finished: 2 of 5 cells are done"),
        ({"grid": {"policy": ["no-offload", "static-2"]}}, False, None),
        ({"grid": {"policy": ["a"], "rate_scale": []}}, False, "not finished: 2 cells are done"),
        ({"grid": {"policy": ["a"], "rate_scale": []}}, True, None),
        ({"search": SEARCH}, False, "not finished: 2 of 9 cells are done"),
        ({"search": SEARCH}, True, None),
    ],
)
def test_how_much_of_a_study_is_done(
    more: dict[str, Any],
    ended: bool,
    said: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = write_folder(ROWS)
    definition = json.loads((folder / "study.json").read_text())
    definition["grid"]["policy"].append("flexgen")
    (folder / "study.json").write_text(json.dumps({**definition, **more}))
    if ended:
        (folder / "summary.json").write_text("{}")
    assert shown(monkeypatch, "study", "--x", "ttft_s.p95", "--y", "slo_attainment") == 0
    out = capsys.readouterr().out
    assert "not finished" not in out if said is None else said in out


DEFINITION = '{"schema_version": 1, "base": {"trace": "t"}, "grid": {}, "seeds": 1}'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "study is not a study folder"),
        ({"study.json": "{"}, "is not JSON: line 1"),
        ({"study.json": '{"schema_version": 1, "study": "paper"}'}, "see its paper.md"),
        ({"study.json": '{"schema_version": 99, "base": {"trace": "t"}}'}, "reads 1"),
        ({"study.json": DEFINITION}, "no finished simulation"),
        (
            {"study.json": DEFINITION, "cells.jsonl": "{}\n"},
            "cells.jsonl:1 is not a row",
        ),
    ],
)
def test_folders_that_are_none(
    content: dict[str, str] | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, text in (content or {}).items():
        Path("study").mkdir(exist_ok=True)
        (Path("study") / name).write_text(text)
    assert shown(monkeypatch, "study", "--x", "ttft_s.p95", "--y", "slo_attainment") == 2
    out, err = capsys.readouterr()
    assert said in err
    assert len(err.splitlines()) == 1
    assert out == ""


def test_a_study_whose_policy_is_gone_is_still_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Paths of policies are shown as `file.py:Class`; nothing needs the file any more."""
    monkeypatch.chdir(tmp_path)
    file = Path("mine.py")
    source = "from orbitflow.policy.no_offload import NoOffload\nclass Mine(NoOffload):\n"
    file.write_text(source + "    name = 'mine'\n    is_lossy = True\n")
    run = "study run --trace demo --num-requests 3 --grid policy=dynamic,mine.py:Mine --out s"
    front = "study pareto s --minimize ttft_s.p95 --minimize tpot_s.p95 --all"
    assert str(tmp_path) not in _printed(run, monkeypatch, capsys)
    before = _printed(front, monkeypatch, capsys)
    assert "mine.py:Mine (lossy)" in before
    file.unlink()
    after = _printed(front, monkeypatch, capsys)
    assert "mine.py:Mine (cannot be imported now)" in after
    assert str(tmp_path) not in before + after
    _printed("report s -o page.html", monkeypatch, capsys)
    page = Path("page.html").read_text()
    assert "mine.py:Mine" in page
    assert f"{tmp_path}/mine.py" not in page


def _printed(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    monkeypatch.setattr("sys.argv", ["orbitflow", *command.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    return capsys.readouterr().out
