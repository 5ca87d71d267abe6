"""`orbitflow study run --search` as a person meets it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from orbitflow.cli import app, main, study_tables
from orbitflow.cli.options import arguments_of_sim
from orbitflow.config import DepositRule, RunConfig
from orbitflow.study.figures import read_objective
from orbitflow.study.keys import Sampler
from orbitflow.study.search import Search, read_space
from orbitflow.study.statistics import Estimate
from orbitflow.study.study import plan_study
from orbitflow.study.summary import CellResult

RUN = ["study", "run", "--trace", "tiny.jsonl"]
VARY = ["--vary", "kv-capacity-tokens=6000..40000:log", "--vary", "policy=no-offload,dynamic"]


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orbitflow", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_search_from_end_to_end() -> None:
    wanted = [*RUN, *VARY, "--search", "optuna", "--trials", "6", "--objective", "ttft_s.mean"]
    done = call(*wanted, "--slo-tbt", "150ms", "--parquet", "--out", "out")
    assert done.returncode == 0, done.stderr
    for said in ("ttft_s.mean as small as possible, 6 trials by", "* the best trial; results"):
        assert said in done.stdout
    for said in ("6 trials by optuna in out", "100 % of 6 simulations", "SLO of all cells"):
        assert said in done.stderr
    content = json.loads(Path("out/summary.json").read_text())
    values = [cell["figures"]["ttft_s.mean"]["mean"] for cell in content["cells"]]
    assert values[content["best"]] == min(values)
    assert Path("out/cells.parquet").exists()
    again = call(*wanted, "--slo-tbt", "150ms", "--out", "out", "--json")
    assert json.loads(again.stdout) == content
    assert again.stderr == ""
    command = shlex.split(done.stdout.splitlines()[-1])
    assert command[:2] == ["orbitflow", "sim"]
    alone = call(*command[1:], "--json")
    assert alone.returncode == 0, alone.stderr
    (figures,) = json.loads(alone.stdout)["policies"].values()
    assert figures["ttft_s"]["mean"] == min(values)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--vary", "slo_scale=1..2"], "--vary is for searches: add --search random or optuna"),
        (["--grid", "slo_scale=1", "--trials", "5"], "--trials is for searches"),
        (["--search", "random"], "nothing to search: add --vary"),
        (["--search", "random", "--vary", "max_batch=1..9"], "a search fixes one policy and got 0"),
        (["--search", "random", *VARY, "--grid", "slo_scale=1"], "write --vary instead of --grid"),
        (["--search", "random", *VARY, "--bound"], "--bound is for grids"),
        (["--search", "random", *VARY, "--trials", "0"], "--trials 0 must be from 1 to 100,000"),
        (["--search", "random", *VARY, "--objective", "joy"], "--objective 'joy' is no figure"),
        (["--search", "random", *VARY, "--trials-at-once", "2"], "is for --search optuna"),
        (["--search", "random", "--policy", "orbit", "--vary", "rate_scale=0..1"],
         "--rate-scale 0.0 must be above 0"),
        (["--search", "random", "--policy", "orbit", "--vary", "profile=joy"], "no profile 'joy'"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_leave_nothing(
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["orbitflow", *RUN, *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    out, err = capsys.readouterr()
    assert said in err
    assert len(err.splitlines()) == 1
    assert out == ""
    assert [path.name for path in Path().iterdir()] == ["tiny.jsonl"]


@pytest.mark.parametrize(
    "config",
    [
        RunConfig(trace="tiny.jsonl", policies=("orbit",)),
        RunConfig(
            trace="it's.jsonl",
            policies=("orbit",),
            gpu_memory_bytes=24 * 1024**3,
            max_batch=0,
            ring_extra=True,
            no_spread=True,
            slo_ttft_s=1e-07,
            rate_scale=0.1 + 0.2,
            deposit=DepositRule.NONE,
            perturb="link=0.5",
            seed=7,
        ),
        RunConfig(
            trace="tiny.jsonl",
            policies=("orbit", "dynamic"),
            profile="h100-roofline",
            tp=2,
            kv_capacity_tokens=9000,
            host_memory_bytes=1,
        ),
    ],
)
def test_the_command_of_a_configuration_reads_back_as_it(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the real command line, up to where it would run."""
    seen: list[RunConfig] = []
    monkeypatch.setattr(
        "orbitflow.cli.sim.run_simulation", lambda config, *_, **__: seen.append(config)
    )
    words = arguments_of_sim(config, tbt_limit_s=0.1 / 3)
    assert CliRunner().invoke(app, ["sim", *words]).exit_code == 0
    assert seen == [replace(config, slo_tbt_s=0.1 / 3)]


def test_the_command_leaves_out_what_the_kv_capacity_stands_instead_of() -> None:
    config = RunConfig(
        trace="t", policies=("orbit",), gpu_memory_bytes=2**34, kv_capacity_tokens=9000
    )
    words = arguments_of_sim(config, tbt_limit_s=0.1)
    assert words == [
        *("--trace", "t", "--policy", "orbit"),
        *("--kv-capacity-tokens", "9000", "--slo-tbt", "0.1s"),
    ]


def test_a_narrow_terminal_keeps_what_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = RunConfig(trace=str(Path("tiny.jsonl").resolve()))
    space = read_space(["token_value=0.1..1", "kv_capacity_tokens=100..200"], ["orbit"])
    search = Search(space, Sampler.RANDOM, read_objective("ttft_s.p95", None), 3)
    study = plan_study(base, search.grid, search=search)
    figures = {"ttft_s.p95": Estimate(0.2, None), "timely_share": Estimate(0.5, None)}
    found = [CellResult(cell, 0.1, 1, 0, (), figures) for cell in study.cells]
    for width, titles in ((48, 1), (68, 3), (200, 7)):
        console = Console(width=width, force_terminal=True)
        monkeypatch.setattr(study_tables, "console", lambda console=console: console)
        console.file = sys.stdout
        study_tables.print_search(study, found, Path("out"))
        shown = capsys.readouterr().out
        head = next(line for line in shown.splitlines() if "kv_capacity_tokens" in line)
        assert head.count("┃") - 3 == titles
        assert "TTFT p95" in head
        assert "orbit:" in shown
        assert "--token-value" in shown.splitlines()[-1]


def test_without_optuna_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.setattr("sys.argv", ["orbitflow", *RUN, *VARY, "--search", "optuna"])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    assert "pip install -e '.[search]'" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["tiny.jsonl"]
