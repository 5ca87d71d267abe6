"""A file is what was there before, or all of what is new; columns become an .npz file."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy

from orbitflow.config import RunConfig
from orbitflow.files import NEIGHBOURS, column_file, replacing, write_whole
from orbitflow.results import recorder
from orbitflow.results.run_folder import RunFolder
from orbitflow.scenario import build_scenario
from orbitflow.sim.run import simulate_policy


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("old")
    return path


def test_it_is_replaced_at_the_end(file: Path) -> None:
    with replacing(file) as neighbour:
        neighbour.write_text("new")
        assert file.read_text() == "old"
        assert neighbour.match(NEIGHBOURS)
    assert file.read_text() == "new"
    assert os.listdir(file.parent) == ["file"]


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_what_fails_changes_nothing(file: Path, failure: type[BaseException]) -> None:
    def begin() -> None:
        with replacing(file) as neighbour:
            neighbour.write_text("half")
            raise failure

    with pytest.raises(failure):
        begin()
    assert file.read_text() == "old"
    assert os.listdir(file.parent) == ["file"]


def test_a_text_that_cannot_be_written_changes_nothing(file: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write_whole(file, "new\udc80")
    assert file.read_text() == "old"
    write_whole(file, "new\udc80", errors="backslashreplace")
    assert file.read_text() == "new\\udc80"
    assert os.listdir(file.parent) == ["file"]


def test_a_link_stays_one(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to("file")
    write_whole(link, "new")
    assert link.is_symlink()
    assert file.read_text() == "new"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "folder", "new")
    assert os.listdir(tmp_path) == ["folder"]


def blocks(*sizes: int) -> Iterator[dict[str, array[Any]]]:
    """A column of floats and one of whole numbers, in blocks of these sizes."""
    start = 0
    for size in sizes:
        rows = range(start, start + size)
        yield {"time_s": array("d", [row / 7 for row in rows]), "count": array("q", rows)}
        start += size


@pytest.mark.parametrize("sizes", [(0,), (5,), (3, 3, 1), (1, 0, 4, 0), (4096, 4096, 17)])
def test_the_bytes_of_savez(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    with column_file(tmp_path / "mine.npz") as out:
        for block in blocks(*sizes):
            out.write(block)
    count = np.arange(sum(sizes), dtype=np.int64)
    np.savez(tmp_path / "whole.npz", time_s=count / 7, count=count)
    assert (tmp_path / "mine.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_what_breaks_off_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def break_off() -> None:
        with column_file(tmp_path / "a.npz") as out:
            out.write(next(blocks(3)))
            raise error

    with pytest.raises(error):
        break_off()
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_stays_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.npz").write_text("before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def write() -> None:
        with column_file(tmp_path / "a.npz") as out:
            out.write(next(blocks(3)))

    with monkeypatch.context() as patch:
        patch.setattr(npy, "write_array_header_1_0", full)
        with pytest.raises(OSError, match="No space left"):
            write()
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    assert (tmp_path / "a.npz").read_text() == "before"
    write()
    assert (tmp_path / "a.npz").read_bytes() != b"before"


def test_a_run_gives_the_same_steps_in_blocks_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [{"timestamp": 500 * n, "input_length": 900, "output_length": 20} for n in range(40)]
    (tmp_path / "trace.jsonl").write_text("\n".join(map(json.dumps, requests)))
    scenario = build_scenario(RunConfig(str(tmp_path / "trace.jsonl"), ("dynamic",)))
    contents = []
    for size in (7, 8192):
        monkeypatch.setattr(recorder, "_BLOCK", size)
        folder = RunFolder(tmp_path / str(size))
        simulate_policy(scenario, "dynamic", folder, lambda _: None)
        contents.append((folder.path / "dynamic" / "steps.npz").read_bytes())
    assert contents[0] == contents[1]
    with np.load(tmp_path / "7" / "dynamic" / "steps.npz") as steps:
        assert len(steps["start_s"]) > 50
