"""Columns written in blocks are what `numpy.savez` writes of them whole, or they are not there."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy

from orbitflow.config import RunConfig
from orbitflow.files import column_file
from orbitflow.results import recorder
from orbitflow.results.run_folder import RunFolder
from orbitflow.scenario import build_scenario
from orbitflow.sim.run import simulate_policy


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
