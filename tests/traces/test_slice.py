"""`orbitflow trace slice`, and --time-unit and --columns on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import orbitflow as of
from orbitflow.cli.trace import trace_app
from orbitflow.config import RunConfig
from orbitflow.errors import UserError
from orbitflow.scenario import build_scenario
from orbitflow.study.study import read, reading
from orbitflow.traces import Trace, read_trace
from orbitflow.traces.transform import between
from orbitflow.units import TimeUnit


@pytest.fixture
def minutes(tmp_path: Path) -> Path:
    """A request a minute for an hour, every third with a limit."""
    path = tmp_path / "minutes.jsonl"
    limit = (', "slo_tbt_ms": 9', "", "")
    path.write_text(
        "".join(
            f'{{"timestamp": {60_000 * at}, "input_length": {at + 1}, "output_length": 2'
            f"{limit[at % 3]}}}\n"
            for at in range(61)
        )
    )
    return path


def run(*arguments: object) -> str:
    done = CliRunner().invoke(trace_app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_a_ramp_up_is_left_out(minutes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    said = run("slice", minutes, "--from", "10m", "--to", "1h", "-o", out)
    assert "50 of 61 requests" in said
    trace = read_trace(out)
    assert trace.prompt_tokens.tolist() == list(range(11, 61))  # the 60th minute is not in
    assert trace.arrival.tolist() == [60.0 * at for at in range(50)]
    assert trace.slo_tbt_s is not None
    assert np.flatnonzero(trace.slo_tbt_s > 0).tolist() == list(range(2, 50, 3))


@pytest.mark.parametrize(
    ("bounds", "first", "count"),
    [
        (("--to", "90s"), 1, 2), (("--from", "59min"), 60, 2), (("--from", "30s"), 2, 60),
        (("--from", "0"), 1, 61), (("--from", "1 m", "--to", "61000ms"), 2, 1),
    ],
)  # fmt: skip
def test_bounds(
    minutes: Path, tmp_path: Path, bounds: tuple[str, ...], first: int, count: int
) -> None:
    out = tmp_path / "out.jsonl"
    about = json.loads(run("slice", minutes, *bounds, "-o", out, "--json"))
    assert about["requests"] == count
    assert read_trace(out).prompt_tokens[0] == first
    assert read_trace(out).arrival[0] == 0


def test_the_stamps_of_a_slice_are_exact(tmp_path: Path) -> None:
    at = np.array([0.0, 0.1, 0.3, 1e6 + 0.123456789])
    tokens = np.array([1, 2, 3, 4])
    part = between(Trace("t", "", "canonical", at, "s", tokens, tokens), 0.1)
    assert part.arrival.tolist() == [0.0, 0.2, 1e6 + 0.023456789]


@pytest.mark.parametrize(
    ("bounds", "what"),
    [
        (("--from", "2h"), "no requests from 7200 s to its end; it has them from 0 to 3600 s"),
        (("--from", "61s", "--to", "62s"), "no requests from 61 s to 62 s"),
        (("--from", "2m", "--to", "1m"), "--to 60s: must be after --from 120s"),
        (("--from", "1M"), "--from: cannot read '1M'"),
        (("--from", "5"), "--from: '5' has no unit"),
        (("--from", "-5s"), "--from: '-5s' must be more than zero"),
    ],
)
def test_empty_slices(minutes: Path, tmp_path: Path, bounds: tuple[str, ...], what: str) -> None:
    with pytest.raises(UserError) as caught:
        run("slice", minutes, *bounds, "-o", tmp_path / "out.jsonl")
    assert what in str(caught.value)
    assert not (tmp_path / "out.jsonl").exists()


def test_engine_steps_have_no_seconds(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"arrivals are in engine steps; .*convert"):
        run("slice", "paper", "--from", "1s", "-o", tmp_path / "out.jsonl")


def test_every_command_takes_unit_and_columns(tmp_path: Path) -> None:
    log, out, part = (tmp_path / name for name in ("log.csv", "out.jsonl", "part.jsonl"))
    log.write_text("at,p,o\n0,5,6\n2000,7,8\n")
    how = ("--columns", "time=at,prompt=p,output=o", "--time-unit", "ms")
    assert json.loads(run("inspect", log, "--json", *how))["span"] == 2.0
    run("convert", log, out, *how)
    assert read_trace(out).arrival.tolist() == [0.0, 2.0]
    run("slice", log, "--from", "1s", "-o", part, *how)
    assert read_trace(part).prompt_tokens.tolist() == [7]


@pytest.mark.parametrize(("unit", "last_s"), [(None, 2000.0), (TimeUnit.MS, 2.0)])
def test_runs_and_studies_read_alike(tmp_path: Path, unit: TimeUnit | None, last_s: float) -> None:
    log, columns = tmp_path / "log.csv", "time=at,prompt=p,output=o"
    log.write_text("at,p,o\n0,5,6\n2000,7,8\n")
    config = RunConfig(
        str(log), policies=("no-offload",), profile="h100-roofline", time_unit=unit, columns=columns
    )
    assert build_scenario(config).trace.arrival.tolist() == [0.0, last_s]
    assert read(*reading(config)).arrival.tolist() == [0.0, last_s]
    assert of.load_trace(log, time_unit=unit, columns=columns).arrival.tolist() == [0.0, last_s]
