"""A file is what was there before, or all of what is new."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from orbitflow.files import NEIGHBOURS, replacing, write_whole


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
