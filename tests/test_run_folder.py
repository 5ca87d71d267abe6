"""The run folder: nobody can mistake half a run for a whole one."""

from __future__ import annotations

import json
import threading
from array import array
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from orbitflow.results.run_folder import RunFolder

from orbitflow.errors import UserError


def test_incomplete_until_complete(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "deep" / "run")
    mark = folder.path / "INCOMPLETE"
    assert mark.exists()
    folder.write_json("summary.json", {"a": None})
    assert mark.exists()
    folder.incomplete(KeyboardInterrupt())
    assert mark.read_text() == "This run has not finished: interrupted\n"
    folder.incomplete(OSError("no\nspace"))
    assert mark.read_text() == "This run has not finished: OSError: no space\n"
    folder.complete()
    assert sorted(p.name for p in folder.path.iterdir()) == ["summary.json"]


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_what_exists_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "run"
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_text("mine")
    else:
        path.symlink_to("nowhere")
    with pytest.raises(UserError, match=r"--out .*run exists: name a new folder"):
        RunFolder(path)
    assert not (path / "INCOMPLETE").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("mine")
    with pytest.raises(UserError, match=r"cannot be made .*Not a directory"):
        RunFolder(tmp_path / "file.txt" / "run")
    assert (tmp_path / "file.txt").read_text() == "mine"


def test_a_refused_name_leaves_no_parents_behind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be made"):
        RunFolder(tmp_path / "new" / ("x" * 300))
    assert list(tmp_path.iterdir()) == []


def test_default_names_count_up(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    for number in (2, 4):
        (root / f"t-{number}").mkdir(parents=True)
    assert [RunFolder.numbered("t", root).path.name for _ in range(4)] == [
        "t-1",
        "t-3",
        "t-5",
        "t-6",
    ]


def test_a_name_taken_between_looking_and_making_is_skipped(tmp_path: Path) -> None:
    """A dangling link cannot be seen by looking, only by making: as a race with another run."""
    (tmp_path / "t-1").symlink_to("nowhere")
    assert RunFolder.numbered("t", tmp_path).path == tmp_path / "t-2"


def test_many_at_once_get_a_folder_each(tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def several() -> list[Path]:
        start.wait()
        return [RunFolder.numbered("t", tmp_path).path for _ in range(20)]

    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(several) for _ in range(8)]
        paths = [path for done in waiting for path in done.result()]
    assert sorted(paths) == sorted(tmp_path / f"t-{n}" for n in range(1, 161))


@pytest.mark.parametrize("name", ["a/b", "../x", "a b", "tä;rm", "\n", "", "..", ".", "x" * 255])
def test_default_names_are_plain_folders_below_the_root(tmp_path: Path, name: str) -> None:
    path = RunFolder.numbered(name, tmp_path).path
    assert path.parent == tmp_path
    assert path.is_dir()
    assert "\n" not in path.name


def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.write_text("a.txt", "old")
    folder.write_text("a.txt", "new")
    assert (folder.path / "a.txt").read_text() == "new"
    with pytest.raises(ValueError, match="not JSON compliant"):
        folder.write_json("b.json", {"x": float("nan")})
    assert sorted(p.name for p in folder.path.iterdir()) == ["INCOMPLETE", "a.txt"]


def test_json_is_for_people_and_ends_its_line(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.write_json("a.json", {"x": [1, None]})
    text = (folder.path / "a.json").read_text()
    assert json.loads(text) == {"x": [1, None]}
    assert text.endswith("}\n")
    assert "\n  " in text


def test_arrays_and_lines_of_a_policy(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.lines("dynamic/requests.jsonl") as out:
        out.write("{}\n")
    with folder.columns("dynamic/steps.npz") as columns:
        columns.write({"a": array("q", [0, 1, 2]), "b": array("d", [0, 0, 1])})
    with np.load(folder.path / "dynamic" / "steps.npz") as read:
        assert {name: read[name].tolist() for name in read} == {"a": [0, 1, 2], "b": [0, 0, 1]}
    assert (folder.path / "dynamic" / "requests.jsonl").read_text() == "{}\n"
    names = sorted(p.name for p in (folder.path / "dynamic").iterdir())
    assert names == ["requests.jsonl", "steps.npz"]
