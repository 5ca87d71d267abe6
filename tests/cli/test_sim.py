"""`orbitflow sim` as a person meets it: what it prints, what it leaves, and how it says no.

(`tests/traces/test_cli.py` and `test_cli_profile.py` have the other commands.)
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
from reference.commands import Invoke, Result, invoker

from orbitflow import __version__
from orbitflow.cli import app
from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.profile import to_json
from orbitflow.policy.registry import DEFAULT_POLICIES, policy_names
from orbitflow.results.request_result import RequestResult

PROGRAM = [sys.executable, "-m", "orbitflow"]
_KEYS = (
    "requests completed failed output_tokens makespan_s throughput_tokens_per_s goodput_rps "
    "timely_share tbt_attainment tpot_attainment ttft_attainment slo_attainment ttft_s tpot_s "
    "tbt_s e2el_s link planner paused_s"
)
KEYS = set(_KEYS.split())
OPTIONS = (
    "trace policy profile model gpu-memory kv-capacity-tokens host-memory max-batch slo-scale "
    "slo-tbt slo-ttft slo-ttft-scale rate-scale context-scale output-scale num-requests "
    "arrival-jitter link-scale compute-scale prefill-chunk pipeline deposit pace seed out json "
    "quiet"
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with one small trace and without fetched traces."""
    monkeypatch.setenv("ORBITFLOW_CACHE", str(tmp_path / "no cache"))
    monkeypatch.setenv("COLUMNS", "120")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    write("tiny.jsonl", [(0, 1000, 20), (500, 3000, 10), (900, 200, 1)])
    return work


@pytest.fixture
def orbitflow(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Invoke:
    """Run the command in this process."""
    return invoker(monkeypatch, capfd)


@pytest.fixture
def sim(orbitflow: Invoke) -> Invoke:
    return lambda *arguments: orbitflow("sim", "--trace", "tiny.jsonl", *arguments)


def write(name: str, requests: list[tuple[float, int, int]]) -> None:
    lines = [
        json.dumps({"timestamp": at, "input_length": prompt, "output_length": output})
        for at, prompt, output in requests
    ]
    Path(name).write_text("\n".join(lines) + "\n")


def refused(result: Result, *said: str) -> None:
    """One clear line on stderr, nothing on stdout, nothing on disk."""
    assert result.code == 2, result
    assert result.out == ""
    assert result.err.count("\n") == 1, result.err
    assert result.err.endswith("\n")
    assert result.err.startswith("orbitflow: ")
    for text in said:
        assert text in result.err
    assert not Path("runs").exists()


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("hello\n", "bad.jsonl:1: not a known trace format"),
        ('{"timestamp": 0, "input_length": 5, "output_length": 5}\n{"tim', "bad.jsonl:2: not JSON"),
        ('{"timestamp": 0, "input_length": 5}\n', "bad.jsonl:1: no field output_length; expected"),
        ('{"timestamp": 0, "input_length": 0, "output_length": 5}\n', ":1: input_length is 0"),
        ('{"timestamp": 0, "input_length": 5, "output_length": 0}\n', ":1: output_length is 0"),
        ('{"timestamp": 0, "input_length": -5, "output_length": 5}\n', ":1: input_length is -5"),
        ('{"timestamp": 0, "input_length": 5.5, "output_length": 5}\n', ":1: input_length is 5.5"),
        ('{"timestamp": -1, "input_length": 5, "output_length": 5}\n', ":1: timestamp is -1"),
        ('{"timestamp": NaN, "input_length": 5, "output_length": 5}\n', ":1: timestamp is nan"),
    ],
)  # fmt: skip
def test_broken_traces(orbitflow: Invoke, text: str, said: str) -> None:
    Path("bad.jsonl").write_text(text)
    refused(orbitflow("sim", "--trace", "bad.jsonl"), said)


def test_stamps_out_of_order_beyond_the_window(orbitflow: Invoke) -> None:
    write("bad.jsonl", [*((10.0 + i, 5, 5) for i in range(10_001)), (0, 5, 5)])
    refused(orbitflow("sim", "--trace", "bad.jsonl"), "bad.jsonl:10002: ", "sorted by arrival")


def test_stamps_out_of_order_within_the_window_are_sorted(orbitflow: Invoke) -> None:
    write("mixed.jsonl", [(900, 5, 5), (0, 6, 5)])
    result = orbitflow("sim", "--trace", "mixed.jsonl", "--policy", "no-offload")
    assert result.code == 0
    assert "1 out-of-order lines sorted" in result.err


@pytest.mark.parametrize(
    ("trace", "said"),
    [
        ("nope.jsonl", "nope.jsonl: no such file"),
        ("azure_con", "did you mean azure_conv?"),
        ("", "no trace"),
        (".", "is a folder"),
        ("mooncake", "path"),
        ("/dev/null", "expected"),
        ("two\nlines", "no such file"),
    ],
)
def test_missing_traces(orbitflow: Invoke, trace: str, said: str) -> None:
    refused(orbitflow("sim", "--trace", trace), said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--policy", "dinamic"], "did you mean dynamic?"),
        (["--policy", "no-offload", "--policy", "zzz"], "known: deepspeed"),
        (["--policy", "static-0"], "static-"),
        (["--profile", "a5000-llama3-8b-papr"], "did you mean a5000-llama3-8b-paper"),
        (["--profile", "tiny.jsonl"], "tiny.jsonl"),
        (["--model", "llama-3-9b"], "did you mean llama-3-8b"),
        (["--model", "qwen3-8b"], "use a roofline profile"),
        (["--profile", "a5000-roofline", "--model", "llama-3-70b"], "131.4 GiB"),
        (["--gpu-memory", "8GiB"], "15.0 GiB of llama-3-8b weights"),
        (["--kv-capacity-tokens", "15"], "one page of 16"),
    ],
)
def test_unknown_or_impossible(sim: Invoke, arguments: list[str], said: str) -> None:
    refused(sim(*arguments), said)


NUMBERS = {
    "--rate-scale": ["0", "-1", "nan", "inf", "1e-300"],
    "--context-scale": ["0", "-1", "nan", "inf", "1e300"],
    "--output-scale": ["0", "-1", "nan", "inf", "1e9"],
    "--link-scale": ["0", "-1", "nan", "inf"],
    "--compute-scale": ["0", "-1", "nan", "inf"],
    "--slo-scale": ["0", "-1", "nan", "inf"],
    "--slo-ttft-scale": ["-1", "nan", "inf"],
    "--arrival-jitter": ["-0.1", "1", "nan", "inf"],
    "--num-requests": ["0", "-1"],
    "--kv-capacity-tokens": ["0", "-1"],
    "--max-batch": ["-1"],
    "--prefill-chunk": ["-1"],
    "--seed": ["-1"],
}


@pytest.mark.parametrize(
    ("option", "value"), [(option, value) for option in NUMBERS for value in NUMBERS[option]]
)
def test_numbers_out_of_range(sim: Invoke, option: str, value: str) -> None:
    """The line names the option as it is typed."""
    refused(sim(f"{option}={value}"), f"{option} ")


QUANTITIES = {
    "--gpu-memory": ["0", "-1GiB", "nan", "24parsecs", "24ms", "GiB", ""],
    "--host-memory": ["0", "-1GiB", "inf", "1 2GiB"],
    "--slo-tbt": ["0", "-5ms", "nan", "5lightyears", "5GiB", "ms", ""],
    "--slo-ttft": ["0", "-5ms", "inf", "1e308h"],
}


@pytest.mark.parametrize(
    ("option", "value"), [(option, value) for option in QUANTITIES for value in QUANTITIES[option]]
)
def test_quantities_that_cannot_be_read(sim: Invoke, option: str, value: str) -> None:
    """The line says which option it was: several take a unit."""
    refused(sim(f"{option}={value}"), option)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rate-scale", "fast"], "--rate-scale"),
        (["--num-requests", "2.5"], "--num-requests"),
        (["--max-batch", "nan"], "--max-batch"),
        (["--pipeline", "pear"], "'ring'"),
        (["--deposit", "some"], "'policy'"),
        (["--pace", "fast"], "'immediate'"),
        (["--polcy", "dynamic"], "--policy"),
        (["stray"], "stray"),
        (["--seed"], "--seed"),
    ],
)
def test_options_that_make_no_sense(sim: Invoke, arguments: list[str], said: str) -> None:
    refused(sim(*arguments), said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--slo-tbt", "100"], "--slo-tbt: '100' has no unit: write 100ms or 100s"),
        (["--gpu-memory", "24"], "--gpu-memory: '24' has no unit: write 24GiB or 24GB"),
        (["--slo-tbt", "1s", "--slo-scale", "1.5"], "--slo-tbt stands instead of --slo-scale"),
        (["--gpu-memory", "24GiB", "--kv-capacity-tokens", "9"], "instead of --gpu-memory: leave"),
        (["--solver", "cbc"], "--solver cbc was removed: leave --solver out"),
        (["--solver=cbc"], "--solver cbc was removed: leave --solver out"),
        (["--policy", "dynamic,,orbit"], "--policy 'dynamic,,orbit' has an empty place"),
        (["--tp", "2"], "--tp 2: profile a5000-llama3-8b-paper is of 1 GPU"),
        (["--tp", "0"], "--tp 0 must be above 0"),
        (["--tp", "3", "--profile", "h100"], "32 heads, no multiple of 3 GPUs"),
        (["--tp", "4", "--profile", "h100x2-roofline"], "is of 2 GPUs: leave one"),
        (["--tp", "65", "--profile", "h100"], "take 1 to 64 GPUs"),
        (["--profile", "a100"], "--profile a100 is several GPUs: write a100-40gb or a100-80gb"),
        (["--profile", "h10"], "did you mean h100"),
    ],
)
def test_what_could_be_meant_in_two_ways_or_is_gone(
    sim: Invoke, arguments: list[str], said: str
) -> None:
    refused(sim(*arguments), said)


def test_a_default_is_no_contradiction(sim: Invoke) -> None:
    """An option counts as given only if it was, also with the value that it has by default."""
    refused(sim("--slo-scale", "1.5", "--slo-tbt", "1s"))
    assert sim("--slo-tbt", "1s", "--json").code == 0


@pytest.mark.parametrize(
    ("options", "profile"),
    [
        (["--profile", "h100"], "h100-roofline"),
        (["--profile", "H100", "--tp", "2"], "h100x2-roofline"),
        (["--profile", "h100x4"], "h100x4-roofline"),
        (["--profile", "a6000x4", "--model", "llama-3-70b"], "a6000x4-llama3-70b-paper"),
        (["--profile", "a5000"], "a5000-llama3-8b-paper"),
        (["--profile", "a5000", "--model", "qwen3-8b"], "a5000-roofline"),
        (["--profile", "a100-80gb"], "a100-llama3-8b-paper"),
        (["--profile", "a6000", "--tp", "4", "--model", "llama-3-70b"], "a6000x4-llama3-70b-paper"),
    ],
)
def test_a_gpu_stands_for_what_there_is_of_it(
    sim: Invoke, options: list[str], profile: str
) -> None:
    result = sim("--policy", "no-offload", "--out", "run", *options)
    assert result.code == 0, result.err
    assert json.loads(Path("run/summary.json").read_text())["profile"]["name"] == profile
    assert f"--profile {options[1]}: " in " ".join(result.err.split())


def test_a_profile_measured_here_comes_before_published_ones(sim: Invoke) -> None:
    Path("a5000.json").write_text(to_json(resolve_profile("a5000-roofline")))
    assert "a5000.json is taken" in " ".join(sim("--profile", "a5000").err.split())


def test_no_trace_and_no_such_command(orbitflow: Invoke) -> None:
    refused(orbitflow("sim"), "--trace")
    refused(orbitflow("simulate"), "simulate")


@pytest.mark.parametrize("value", ["1e300", "1e308"])
@pytest.mark.parametrize("option", ["--slo-scale", "--slo-ttft-scale", "--slo-tbt", "--slo-ttft"])
def test_absurd_limits_are_refused_or_work(sim: Invoke, option: str, value: str) -> None:
    """Never a run that breaks off half way because a figure overflowed."""
    result = sim(option, value, "--json")
    if result.code:
        refused(result, option)


@pytest.mark.parametrize("value", ["5e-324", "1e-306", "1e306"])
@pytest.mark.parametrize("option", ["--link-scale", "--compute-scale"])
def test_absurd_machines_are_refused_or_work(sim: Invoke, option: str, value: str) -> None:
    result = sim(option, value, "--json", "--policy", "deepspeed")
    if result.code:
        refused(result, option)


def test_an_empty_name_is_not_a_default(sim: Invoke) -> None:
    """As from an unset variable in a script: --profile "$PROFILE"."""
    for option in ("--profile", "--model", "--out"):
        refused(sim(option, "", "--json"), option)


@pytest.mark.parametrize("talk", [["--json"], []])
@pytest.mark.parametrize("kind", ["folder", "file", "below a file"])
def test_out_is_never_overwritten(sim: Invoke, here: Path, kind: str, talk: list[str]) -> None:
    """Said in one line, before anything else. Permission bits would not bind root, so unwritable
    is: below a file.
    """
    out = here / "out"
    if kind == "folder":
        out.mkdir()
    else:
        out.write_text("mine")
    path = out / "run" if kind == "below a file" else out
    refused(sim("--out", str(path), *talk), f"--out {path}")
    assert sorted(p.name for p in here.iterdir()) == ["out", "tiny.jsonl"]
    assert out.is_dir() or out.read_text() == "mine"


def test_a_broken_option_is_found_before_the_folder_is_made(sim: Invoke, here: Path) -> None:
    refused(sim("--out", "fresh", "--gpu-memory", "8GiB"))
    assert not (here / "fresh").exists()


def test_a_request_that_can_never_fit(orbitflow: Invoke) -> None:
    """50,000 tokens do not fit into 46,208; the others are served."""
    write("big.jsonl", [(0, 100, 5), (100, 50_000, 5), (200, 100, 5)])
    result = orbitflow("sim", "--trace", "big.jsonl", "--policy", "no-offload", "--out", "run")
    assert result.code == 0
    shown = " ".join(result.out.split())
    assert "no-offload: " in shown
    assert "request 1 failed: " in shown or "failed, requests 1;" in shown
    assert "46208" in shown.replace(",", "")
    policy = json.loads(Path("run/summary.json").read_text())["policies"]["no-offload"]
    assert (policy["requests"], policy["completed"], policy["failed"]) == (3, 2, 1)
    assert policy["slo_attainment"] <= 2 / 3
    lines = read_lines("run/no-offload/requests.jsonl")
    (failed,) = [line for line in lines if line["status"] == "failed"]
    assert failed["id"] == 1
    assert "room" in failed["reason"]
    assert (failed["meets_ttft"], failed["meets_tpot"]) == (False, False)


def test_nothing_fits_at_all(sim: Invoke) -> None:
    result = sim("--kv-capacity-tokens", "16", "--json")
    assert result.code == 0
    for policy in json.loads(result.out)["policies"].values():
        assert policy["failed"] >= 2


@pytest.mark.parametrize(
    ("prompt", "capacity", "policy"), [(1024, 1024, "static-40"), (1040, 48, "deepspeed")]
)
def test_a_request_that_just_fits(
    orbitflow: Invoke, prompt: int, capacity: int, policy: str
) -> None:
    """A single output token: served or refused, but no failure of the policy."""
    write("edge.jsonl", [(0, prompt, 1)])
    arguments = ["--kv-capacity-tokens", str(capacity), "--policy", policy, "--json"]
    assert orbitflow("sim", "--trace", "edge.jsonl", *arguments).code == 0


# -- names of files -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["zürich 東京.jsonl", "[bold]x.jsonl", 'say "hi"\\.jsonl', "-x.jsonl", "x\r.jsonl",
     "x\x1b[31m.jsonl", "...jsonl", "x" * 249 + ".jsonl"],
)  # fmt: skip
def test_odd_names_of_traces(orbitflow: Invoke, name: str) -> None:
    Path("tiny.jsonl").rename(name)
    result = orbitflow("sim", f"--trace={name}", "--policy", "no-offload")
    assert result.code == 0, result.err
    (run,) = Path("runs").iterdir()
    config = tomllib.loads((run / "config.toml").read_bytes().decode())
    assert config["trace"] == name
    assert not (run / "INCOMPLETE").exists()


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run(
        [*PROGRAM, "sim", *arguments], capture_output=True, text=True, check=False, **options
    )


def test_files_are_utf_8_whatever_the_locale() -> None:
    Path("tiny.jsonl").rename("zürich.jsonl")
    ascii_only = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run("--trace", "zürich.jsonl", "--out", "run", "--json", env=ascii_only)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr
    assert tomllib.loads(Path("run/config.toml").read_bytes().decode())["trace"] == "zürich.jsonl"


def test_a_table_on_a_terminal_that_knows_only_ascii() -> None:
    ascii_only = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run("--trace", "tiny.jsonl", "--out", "run", env=ascii_only)
    assert done.returncode == 0, done.stderr


def test_a_name_that_is_not_utf_8() -> None:
    os.rename(b"tiny.jsonl", b"x\xff.jsonl")
    done = subprocess.run(
        [*PROGRAM, "sim", "--trace", b"x\xff.jsonl", "--json", "--out", "run"],
        capture_output=True, check=False,
    )  # fmt: skip
    assert b"Traceback" not in done.stderr
    assert done.returncode == 0 or (done.returncode == 2 and not Path("run").exists())


# -- what it prints -------------------------------------------------------------------------------


def test_a_plain_run(sim: Invoke) -> None:
    """Scenario on stderr, table on stdout, results in the first free folder."""
    result = sim()
    assert result.code == 0
    for said in ("trace", "3 requests", "offered load", "a5000-llama3-8b-paper", "SLO"):
        assert said in result.err
    for name in DEFAULT_POLICIES:
        assert name in result.out
    assert "timely share" in result.out
    assert "results in runs/tiny-1" in result.out
    assert "results in runs/tiny-2" in sim().out


def test_json_prints_only_json(sim: Invoke) -> None:
    result = sim("--json", "--out", "run")
    assert result.err == ""
    assert json.loads(result.out) == json.loads(Path("run/summary.json").read_text())


def test_quiet_prints_only_the_table(sim: Invoke) -> None:
    result = sim("--quiet")
    assert result.err == ""
    assert "timely share" in result.out
    assert sim("-q").err == ""


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version(orbitflow: Invoke, option: str) -> None:
    assert orbitflow(option) == (0, f"orbitflow {__version__}\n", "")


@pytest.mark.parametrize(
    "command",
    ["", "sim", "trace", "trace convert", "trace inspect", "trace synth", "profile", "profile list",
     "profile show", "study", "study run", "study capacity", "study pareto", "study paper",
     "report", "run", "generate", "calibrate", "validate", "plan", "doctor"],
)  # fmt: skip
def test_help_of_every_command(orbitflow: Invoke, command: str) -> None:
    result = orbitflow(*command.split(), "--help")
    assert (result.code, result.err) == (0, "")
    assert "Usage: " in result.out


def test_help_has_no_brackets_that_would_be_read_as_markup() -> None:
    """Rich takes `[grid]` for a style and shows nothing."""

    def texts(command: Any) -> Iterator[str]:
        yield command.help or ""
        yield from (getattr(parameter, "help", None) or "" for parameter in command.params)
        for child in getattr(command, "commands", {}).values():
            yield from texts(child)

    found = [text for text in texts(typer.main.get_command(app)) if text]
    assert len(found) > 100
    assert [text for text in found if re.search(r"\[[a-z#/@]", text)] == []


@pytest.mark.parametrize("group", ["", "trace", "profile"])
def test_a_group_without_a_command_shows_its_help_and_nothing_else(
    orbitflow: Invoke, group: str
) -> None:
    result = orbitflow(*group.split())
    assert "Usage: " in result.out + result.err
    assert "orbitflow: " not in result.err


def options_shown(shown: str) -> set[str]:
    """Options that a help page lists, each by its long name."""
    rows = [line.removeprefix("│").strip(" *").split() for line in shown.splitlines()]
    return {row[0] for row in rows if row and row[0].startswith("--")}


def test_help_of_sim_has_every_option_of_the_issue(orbitflow: Invoke) -> None:
    result = orbitflow("sim", "--help-all")
    assert (result.code, result.err) == (0, "")
    for option in OPTIONS.split():
        assert f"--{option} " in result.out, option


@pytest.mark.parametrize("command", ["", "study", "report", "trace convert", "profile show"])
def test_help_all_is_taken_where_help_shows_everything(orbitflow: Invoke, command: str) -> None:
    words = command.split()
    shown = orbitflow(*words, "--help-all")
    assert (shown.code, shown.err) == (0, "")
    assert options_shown(shown.out) == options_shown(orbitflow(*words, "--help").out)


@pytest.mark.parametrize("command", ["sim", "study run", "run"])
def test_help_is_short_and_all_of_it_is_there_for_the_asking(
    orbitflow: Invoke, command: str
) -> None:
    """Twenty options beside the two of help itself; the others are taken all the same."""
    words = command.split()
    few = options_shown(orbitflow(*words, "--help").out)
    every = options_shown(orbitflow(*words, "--help-all").out)
    assert len(few) == 22
    assert few < every
    assert {"--help", "--help-all", "--trace", "--policy", "--out", "--json"} <= few
    assert {"--no-gate", "--token-value", "--host-memory"} <= every - few
    assert options_shown(orbitflow(*words, "-h").out) == few


def test_a_hidden_option_works(sim: Invoke) -> None:
    assert json.loads(sim("--output-scale", "2", "--json").out)["trace"]["output_tokens"] == 62


def test_policies_repeat_and_all_means_all(sim: Invoke) -> None:
    chosen = json.loads(sim("--json", "--policy", "static-7", "--policy", "dynamic").out)
    assert list(chosen["policies"]) == ["static-7", "dynamic"]
    commas = json.loads(
        sim("--json", "--policy", "static-7, dynamic", "--policy", "preempt-swap").out
    )
    assert list(commas["policies"]) == ["static-7", "dynamic", "preempt-swap"]
    every = json.loads(sim("--json", "--policy", "all", "--policy", "static-7").out)
    assert set(every["policies"]) == {*policy_names(), "static-7"}


def test_a_table_of_all_policies_keeps_its_figures(sim: Invoke) -> None:
    shown = sim("--policy", "all", "--quiet").out
    for name in policy_names():
        assert name in shown
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 120


# -- what it leaves -------------------------------------------------------------------------------


def read_lines(path: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_the_run_folder(sim: Invoke) -> None:
    sim("--out", "deep/run", "--kv-capacity-tokens", "3400", "--json")
    found = {str(p.relative_to("deep/run")) for p in Path("deep/run").rglob("*") if p.is_file()}
    per_policy = ("requests.jsonl", "steps.npz", "decisions.jsonl", "tbt.npz")
    assert found == {
        *("config.toml", "env.json", "summary.json"),
        *(f"{name}/{file}" for name in DEFAULT_POLICIES for file in per_policy),
    }
    for name in DEFAULT_POLICIES:
        lines = read_lines(f"deep/run/{name}/requests.jsonl")
        assert {line["id"] for line in lines} == {0, 1, 2}
        assert all(list(line) == list(RequestResult._fields) for line in lines)
        decisions = read_lines(f"deep/run/{name}/decisions.jsonl")
        assert sorted(i for line in decisions for i in line["admit"]) == [0, 1, 2]
        with np.load(f"deep/run/{name}/steps.npz") as steps:
            assert len({len(steps[column]) for column in steps}) == 1
            assert (np.diff(steps["start_s"]) >= 0).all()
            tokens = (steps["passes"] * steps["decoding"]).sum() + 3
            assert tokens == 31
            assert steps["prefill_tokens"].sum() == 4200


def test_keys_of_the_summary(sim: Invoke) -> None:
    """Design section 10."""
    summary = json.loads(sim("--json").out)
    assert summary["schema_version"] == 1
    assert {"trace", "slo", "profile", "policies"} <= set(summary)
    assert set(summary["policies"]) == set(DEFAULT_POLICIES)
    for policy in summary["policies"].values():
        assert set(policy) >= KEYS
        for key in ("ttft_s", "tpot_s", "tbt_s", "e2el_s"):
            assert set(policy[key]) == {"mean", "p50", "p95", "p99", "max"}
        assert {"h2d_bytes", "d2h_bytes", "busy_share", "hidden_share"} <= set(policy["link"])
        assert {"calls", "p50_ms", "p99_ms", "runtime_share"} <= set(policy["planner"])
        assert (policy["requests"], policy["completed"], policy["output_tokens"]) == (3, 3, 31)


def test_config_says_what_was_asked_and_what_it_came_to(sim: Invoke) -> None:
    sim("--out", "run", "--slo-tbt", "100ms", "--gpu-memory", "20GiB", "--seed", "7", "--json")
    config = tomllib.loads(Path("run/config.toml").read_text())
    assert config["slo_tbt_s"] == 0.1
    assert config["gpu_memory_bytes"] == 20 * 2**30
    assert config["seed"] == 7
    assert config["resolved"]["policies"] == list(DEFAULT_POLICIES)
    assert config["resolved"]["profile"] == "a5000-llama3-8b-paper"
    assert config["resolved"]["kv_capacity_tokens"] % 16 == 0


def test_environment_has_the_wall_clock(sim: Invoke) -> None:
    sim("--out", "run", "--json")
    environment = json.loads(Path("run/env.json").read_text())
    assert environment["wall_s"] > 0
    assert set(environment["policy_wall_s"]) == set(DEFAULT_POLICIES)
    assert environment["orbitflow_version"] == __version__


def contents(folder: str) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()
    }


def test_the_same_seed_gives_the_same_bytes(sim: Invoke) -> None:
    options = [
        "--arrival-jitter",
        "0.5",
        "--kv-capacity-tokens",
        "4000",
        "--policy",
        "all",
        "--json",
    ]
    sim("--out", "a", "--seed", "3", *options)
    run("--trace", "tiny.jsonl", "--out", "b", "--seed", "3", *options)
    sim("--out", "c", "--seed", "4", *options)
    first, second, other = contents("a"), contents("b"), contents("c")
    assert first.keys() == second.keys() == other.keys()
    assert {name for name in first if first[name] != second[name]} == {"env.json"}
    assert first["dynamic/requests.jsonl"] != other["dynamic/requests.jsonl"]


def test_options_reach_the_simulation(sim: Invoke) -> None:
    """A sample: each of these changes a figure in the direction it should."""

    def figures(*options: str) -> Any:
        return json.loads(sim("--json", "--policy", "deepspeed", *options).out)

    base = figures()
    assert figures("--num-requests", "2")["trace"]["requests"] == 2
    assert figures("--context-scale", "0.5")["trace"]["prompt_tokens"] == 2100
    assert figures("--output-scale", "2")["trace"]["output_tokens"] == 62
    assert figures("--rate-scale", "2")["trace"]["span_s"] == pytest.approx(0.45)
    assert figures("--slo-tbt", "80ms")["slo"]["tau_s"] == 0.08
    assert figures("--slo-scale", "3")["slo"]["tau_s"] == pytest.approx(2 * base["slo"]["tau_s"])
    assert figures("--slo-ttft", "4s")["slo"]["ttft_s"] == 4
    assert figures("--max-batch", "0")["profile"]["max_batch"] is None
    assert figures("--kv-capacity-tokens", "8000")["profile"]["kv_capacity_tokens"] == 8000

    def of(result: Any, key: str) -> Any:
        return result["policies"]["deepspeed"][key]

    assert of(figures("--link-scale", "9"), "makespan_s") < of(base, "makespan_s")
    assert of(figures("--compute-scale", "9"), "makespan_s") < of(base, "makespan_s")
    assert of(figures("--max-batch", "1"), "ttft_s")["max"] > of(base, "ttft_s")["max"]
    assert of(figures("--host-memory", "300MiB"), "failed") == 1
    assert of(figures("--deposit", "policy"), "deposit") is False
    assert of(figures("--prefill-chunk", "64"), "tbt_s") != of(base, "tbt_s")


# -- interruptions --------------------------------------------------------------------------------


def test_ctrl_c_leaves_an_incomplete_folder() -> None:
    """Caught as soon as the folder is there; the job would take far longer."""
    process = subprocess.Popen(
        [*PROGRAM, "sim", "--trace", "azure_conv", "--policy", "all", "--json", "--out", "run",
         "--prefill-chunk", "16"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not Path("run/env.json").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert "interrupted" in err
    assert "run" in err
    assert "interrupted" in Path("run/INCOMPLETE").read_text()
    assert not Path("run/summary.json").exists()


def test_several_at_once_get_a_folder_each() -> None:
    """All begin when a line comes in, ten runs each, so that they meet."""
    code = (
        "import sys, orbitflow.cli.sim as r\n"
        "from orbitflow.config import RunConfig\n"
        "config = RunConfig(trace='tiny.jsonl', policies=('no-offload',))\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for _ in range(10): r.run_simulation(config, None, as_json=True, quiet=True)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    runs = sorted(int(p.name.removeprefix("tiny-")) for p in Path("runs").iterdir())
    assert runs == list(range(1, 31))


@pytest.mark.parametrize("arguments", [["--json"], ["--quiet"], []])
def test_a_reader_that_left(arguments: list[str]) -> None:
    """As in `orbitflow sim ... | head -1`: no traceback, and the results are kept."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*PROGRAM, "sim", "--trace", "tiny.jsonl", "--out", "run", *arguments],
        stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writing)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert Path("run/summary.json").exists()
    assert not Path("run/INCOMPLETE").exists()


def test_a_full_disk_behind_stdout() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, "sim", "--trace", "tiny.jsonl", "--out", "run", "--json"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "No space left" in done.stderr


def test_a_failure_says_where_the_unfinished_results_are(
    sim: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up in mid-run: one line why, exit 1, and the mark stays."""
    from orbitflow.files import ColumnFile

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ColumnFile, "write", full)
    result = sim("--out", "run", "--json")
    assert result.code == 1
    assert result.out == ""
    assert "Traceback" not in result.err
    assert "No space left" in result.err
    assert Path("run/INCOMPLETE").exists()
    assert not Path("run/summary.json").exists()


def test_debug_shows_tracebacks() -> None:
    done = subprocess.run(
        [*PROGRAM, "--debug", "sim", "--trace", "nope"], capture_output=True, text=True, check=False
    )
    assert "Traceback" in done.stderr
    assert "TraceError" in done.stderr
