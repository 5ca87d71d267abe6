"""The grid: which keys there are, how values are read, and what is refused."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from orbitflow.config import RunConfig
from orbitflow.errors import UserError
from orbitflow.study.grid import Axis, Cell, read_grid
from orbitflow.study.keys import Value, key_of, read_value


@pytest.mark.parametrize("name", ["slo-tbt", "slo_tbt", "slo_tbt_s", "--slo-tbt", "SLO-TBT"])
def test_a_key_has_the_names_of_its_option(name: str) -> None:
    assert key_of(name) == "slo_tbt_s"


def test_every_option_of_a_run_is_a_key() -> None:
    for field in fields(RunConfig):
        if field.name != "timeline":
            assert key_of(field.name) == field.name.replace("policies", "policy")


def test_a_stranger_is_told_the_nearest_names() -> None:
    with pytest.raises(UserError, match=r"'slo_scal'.*did you mean slo_scale"):
        key_of("slo_scal")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("slo_scale", "1", 1.0),
        ("slo_tbt_s", "100ms", 0.1),
        ("gpu_memory_bytes", "24GiB", 24 * 1024**3),
        ("kv_capacity_tokens", "46_208", 46208),
        ("pipeline", "paper", "paper"),
        ("profile", "a5000-roofline", "a5000-roofline"),
    ],
)
def test_values_have_the_type_of_their_option(key: str, text: str, value: Value) -> None:
    read = read_value(key, text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("slo_scale=", "no values"),
        ("slo_scale=1,,2", "empty"),
        ("slo_scale=fast", "write a number"),
        ("max_batch=1.5", "whole number"),
        ("slo_tbt=3parsecs", "such as 100ms"),
        ("pipeline=rings", "did you mean ring"),
        ("policy=dinamic", "did you mean dynamic"),
        ("slo_scale", "key=a,b,c"),
        ("=1,2", "key=a,b,c"),
        ("timeline=true", "no option"),
    ],
)
def test_wrong_axes_are_refused_in_one_line(option: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as refusal:
        read_grid([option], None)
    assert "\n" not in str(refusal.value)


def test_an_empty_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the grid is empty"):
        read_grid([], None)
    file = tmp_path / "study.toml"
    file.write_text("[grid]\n")
    with pytest.raises(UserError, match="the grid is empty"):
        read_grid([], file)


def test_repeated_values_are_dropped_with_a_notice() -> None:
    grid = read_grid(["slo_scale=1,1.0,2"], None)
    assert grid.axes == (Axis("slo_scale", (1.0, 2.0)),)
    assert "repeated values" in grid.notices[0]


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(UserError, match="given twice"):
        read_grid(["slo_tbt=100ms", "slo-tbt=200ms"], None)


def test_cells_are_the_product_with_the_last_axis_fastest() -> None:
    cells = read_grid(["policy=no-offload,dynamic", "slo_scale=1,2"], None).cells()
    assert [list(cell.values.values()) for cell in cells] == [
        ["no-offload", 1.0],
        ["no-offload", 2.0],
        ["dynamic", 1.0],
        ["dynamic", 2.0],
    ]
    assert cells[2].policy == "dynamic"
    assert cells[2].group == Cell((("slo_scale", 1.0),))


def test_a_file_says_the_same(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text('[grid]\npolicy = ["dynamic"]\nslo_scale = [1, 1.5]\nslo_ttft = "500ms"\n')
    options = ["policy=dynamic", "slo_scale=1,1.5", "slo_ttft=500ms"]
    assert read_grid([], file) == read_grid(options, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("grid = 3", "must be a table"),
        ("slo_scale = [1]", "under \\[grid\\]"),
        ("[grid", "not TOML"),
        ("[grid]\nslo_scale = [[1], [2]]", "plain value"),
        ("[grid]\nslo_scale = []", "no values"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "study.toml"
    file.write_text(text)
    with pytest.raises(UserError, match=said):
        read_grid([], file)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_grid([], Path("none.toml"))
