"""`orbitflow run` as a person meets it: what it prints and leaves, how it says no, how it ends."""

from __future__ import annotations

import gc
import json
import os
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
from reference.commands import Invoke, Result, invoker, write_trace
from reference.cpu_profile import write_cpu_profile

pytest.importorskip("torch", reason="the backend needs torch")

from orbitflow.backend.kv import pool
from orbitflow.backend.link.channel import PacedLink
from orbitflow.machine.profile import load
from orbitflow.results.request_result import RequestResult

REQUESTS = [(0.0, 60, 12), (40.0, 90, 8), (80.0, 30, 20), (90.0, 17, 1)]


@pytest.fixture(scope="module", autouse=True)
def modules_are_no_garbage() -> Iterator[None]:
    """Keep what is imported by now out of collections: a run collects after every policy, and
    looking through all of torch takes it longer than serving a few requests.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a trace and a profile of `tiny` on this CPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    write_trace(tmp_path / "t.jsonl", REQUESTS)
    write_cpu_profile(tmp_path / "cpu.json", "tiny")
    return tmp_path


@pytest.fixture
def orbitflow(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Invoke:
    return invoker(monkeypatch, capfd)


@pytest.fixture
def run(orbitflow: Invoke) -> Invoke:
    """`orbitflow run` of the small trace, device memory for a few pages."""

    def invoke(*options: str) -> Result:
        given = {option for option in options if option.startswith("--")}
        base = {"--trace": "t.jsonl", "--model": "tiny", "--profile": "cpu.json"}
        base |= {"--kv-capacity-tokens": "176", "--out": "out"}
        return orbitflow(
            "run", *(p for o in base.items() if o[0] not in given for p in o), *options
        )

    return invoke


def rows(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def refused(result: Result, *said: str) -> None:
    """The last line says it, nothing is printed, nothing is left."""
    assert result.code == 2, result
    assert result.out == ""
    assert "Traceback" not in result.err
    last = result.err.splitlines()[-1]
    assert last.startswith("orbitflow: ")
    for text in said:
        assert text in last
    assert not Path("out").exists()


# -- what it does ----------------------------------------------------------------------------------


def test_policies_generate_the_same_tokens_and_leave_a_run_folder(run: Invoke) -> None:
    names = ("no-offload", "static-1", "dynamic", "orbitflow")
    result = run(*(part for name in names for part in ("--policy", name)))
    assert result.code == 0, result.err
    for said in ("t on by hand", "link time hidden", "stalled on the link", "host to GPU"):
        assert said in result.out
    tokens = {name: {row["id"]: row for row in rows(f"out/{name}/tokens.jsonl")} for name in names}
    for row in tokens["no-offload"].values():
        assert row["status"] == "completed"
        assert len(row["tokens"]) == REQUESTS[row["id"]][2]
    for name in names:
        assert tokens[name] == tokens["no-offload"], name
    assert len(tokens["no-offload"]) == len(REQUESTS)

    assert not Path("out/INCOMPLETE").exists()
    summary = json.loads(Path("out/summary.json").read_text())
    assert summary["backend"]["model"] == "tiny"
    assert summary["backend"]["link_bytes_per_s"] == 0.4e9
    figures = summary["policies"]["static-1"]
    assert figures["completed"] == len(REQUESTS)
    assert figures["link"]["h2d_bytes"] > 0
    assert summary["policies"]["no-offload"]["link"]["h2d_bytes"] == 0
    assert load("out/profile.json") == load("cpu.json")
    config = tomllib.loads(Path("out/config.toml").read_text())
    assert config["backend"]["device"] == "cpu"
    environment = json.loads(Path("out/env.json").read_text())
    assert set(environment["policy_wall_s"]) == set(names)
    for name in names:
        for row in rows(f"out/{name}/requests.jsonl"):
            assert row.keys() == set(RequestResult._fields)
        steps = np.load(f"out/{name}/steps.npz")
        assert steps["passes"].sum() > 0
        assert rows(f"out/{name}/decisions.jsonl")


def test_json_is_the_summary(run: Invoke) -> None:
    result = run("--policy", "static-1", "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out) == json.loads(Path("out/summary.json").read_text())


def test_a_run_validates_itself(run: Invoke, orbitflow: Invoke) -> None:
    """Times are what they are; decisions and bytes are the same, whoever counts them."""
    result = run("--policy", "static-1", "--policy", "orbitflow", "--json", "--validate")
    assert result.code == 0, result.err
    document = json.loads(result.out)
    validation = document.pop("validation")
    assert document == json.loads(Path("out/summary.json").read_text())
    assert validation == json.loads(Path("out/validation.json").read_text())
    for name in ("static-1", "orbitflow"):
        found = validation["policies"][name]
        assert found["replay"]["is_same"]
        for way in ("h2d_bytes", "d2h_bytes"):
            assert found["replay"][way]["counted"] == found["replay"][way]["said"]
        passes = np.load(f"out/{name}/passes.npz")
        assert len(passes["measured_s"]) == found["passes"]["by_profile"]["passes"] > 0
        assert (passes["measured_s"] > 0).all()
        assert Path(f"out/simulated/{name}/requests.jsonl").exists()
    again = orbitflow("validate", "out")
    assert again.code == 0, again.err
    for said in ("simulated against measured", "same, ", "makespan_s", "validation in"):
        assert said in again.out


def test_all_policies_are_those_that_can_be_served(run: Invoke) -> None:
    write_trace(Path("t.jsonl"), [(0.0, 40, 3)])
    result = run("--policy", "all")
    assert result.code == 0, result.err
    assert "note: infinigen is left out" in result.err
    names = json.loads(Path("out/summary.json").read_text())["policies"]
    assert {"neo", "zero-inference", "preempt-recompute", "orbitflow"} <= set(names)
    assert "infinigen" not in names


def test_time_scale_is_real_seconds_per_second_of_the_trace(run: Invoke) -> None:
    assert run("--policy", "no-offload", "--time-scale", "2").code == 0
    arrivals = sorted(row["arrival_s"] for row in rows("out/no-offload/requests.jsonl"))
    assert arrivals == pytest.approx([2e-3 * at for at, _, _ in REQUESTS])


def test_a_model_with_a_short_context_is_served(run: Invoke, here: Path) -> None:
    """Shorter than what a run warms up with."""
    fields = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4}
    fields |= {"intermediate_size": 96, "vocab_size": 50, "max_position_embeddings": 48}
    (here / "short.json").write_text(json.dumps({"model_type": "llama", **fields}))
    write_cpu_profile(here / "short-profile.json", "short.json")
    write_trace(here / "t.jsonl", [(0.0, 20, 5)])
    result = run(
        *("--model", "short.json", "--profile", "short-profile.json", "--policy", "no-offload")
    )
    assert result.code == 0, result.err


@pytest.mark.slow
def test_without_a_profile_it_measures(run: Invoke, orbitflow: Invoke) -> None:
    result = orbitflow("run", "--trace", "t.jsonl", "--model", "tiny", "--policy", "no-offload")
    assert result.code == 0, result.err
    assert "measuring" in result.err
    profile = load(next(Path("runs").glob("*/profile.json")))
    assert profile.provenance.method == "measured"


# -- how it says no --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--device", "tpu"), "--device tpu is unknown: use cpu"),
        (("--device", "cuda:x"), "--device cuda:x is unknown"),
        (("--model", "tine"), "no model 'tine'"),
        (("--model", ""), "--model is empty"),
        (("--dtype", "int4"), "dtype int4 is not supported"),
        (("--trace", "none.jsonl"), "none.jsonl: no such file"),
        (("--policy", "lru"), "lru"),
        (("--policy", "infinigen"), "infinigen"),
        (("--time-scale", "0"), "--time-scale 0"),
        (("--link-bandwidth", "fast"), "--link-bandwidth"),
        (("--link-bandwidth", "0GB/s"), "--link-bandwidth"),
        (("--context-scale", "100"), "grow beyond the 4,096 tokens of the model"),
        (("--profile", "a5000-llama3-8b-paper", "--force"), "with 32 layers and"),
        (("--link-bandwidth", "1MB/s"), "take at least 0.01 GB/s"),
        (("--profile", "none.json"), "no profile"),
        (("--kv-capacity-tokens", "3"), "below one page"),
    ],
)
def test_bad_input(run: Invoke, options: tuple[str, ...], said: str) -> None:
    refused(run(*options), said)


def test_no_cuda_and_no_such_gpu(run: Invoke) -> None:
    import torch

    if torch.cuda.is_available():
        refused(run("--device", "cuda:99"), "--device cuda:99", "name one")
    else:
        refused(run("--device", "cuda:0"), "--device cuda:0", "use --device cpu")


def test_no_torch(run: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    refused(run(), "torch is not installed: pip install -e '.[torch]'")


def test_a_model_directory_without_weights(run: Invoke, here: Path) -> None:
    (here / "model").mkdir()
    fields = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4}
    fields |= {"intermediate_size": 96, "vocab_size": 50}
    (here / "model" / "config.json").write_text(json.dumps({"model_type": "llama", **fields}))
    refused(run("--model", "model"), "has no weights")
    (here / "model" / "config.json").write_text(json.dumps({"model_type": "phi3", **fields}))
    refused(run("--model", "model"), "the backend has no phi3 models")


def test_too_little_host_memory_is_said_first(run: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_available_bytes", lambda: 1000)
    refused(run(), "a host KV pool of", "1000 B of memory that are free", "lower")


def test_a_strange_profile_can_be_forced(run: Invoke, here: Path) -> None:
    write_cpu_profile(here / "other.json", "tiny", rate=0.2e9)
    refused(run("--profile", "other.json", "--policy", "dynamic"), "0.2 GB/s", "--force")
    result = run("--profile", "other.json", "--policy", "dynamic", "--force")
    assert result.code == 0, result.err
    assert "note: --profile other.json" in result.err


# -- how it ends -----------------------------------------------------------------------------------


def test_a_dying_copy_worker_fails_the_run_and_keeps_what_there_was(
    run: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry, calls = PacedLink.carry, []

    def dying(self: PacedLink, copies: Any, ready_s: float) -> tuple[float, float]:
        calls.append(ready_s)
        if len(calls) > 60:
            raise OSError("no such bus")
        return carry(self, copies, ready_s)

    monkeypatch.setattr(PacedLink, "carry", dying)
    write_trace(Path("t.jsonl"), [(0.0, 60, 100)])
    result = run("--policy", "static-1")
    assert result.code == 1
    assert "no such bus" in result.err
    assert "Traceback" not in result.err
    assert "unfinished results are in out" in result.err
    assert "no such bus" in Path("out/INCOMPLETE").read_text()
    unfinished = [row for row in rows("out/static-1/tokens.jsonl") if row["status"] != "completed"]
    assert any(row["tokens"] for row in unfinished)
    assert np.load("out/static-1/steps.npz")["passes"].sum() > 0


def cpu_s(process: int) -> float:
    """The CPU seconds that a process has had."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_ctrl_c_ends_at_the_next_pass_and_leaves_what_there_was(here: Path) -> None:
    write_trace(here / "long.jsonl", [(0.0, 40, 3000)])
    command = [sys.executable, "-m", "orbitflow", "run", "--trace", "long.jsonl"]
    command += ["--model", "tiny", "--profile", "cpu.json", "--policy", "dynamic", "--out", "out"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        started = time.monotonic()
        while not Path("out/dynamic/tokens.jsonl").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() - started < 60
            time.sleep(0.05)
        begun_s = cpu_s(process.pid)
        while cpu_s(process.pid) < begun_s + 1:  # a pass takes milliseconds of it
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted" in Path("out/INCOMPLETE").read_text()
    (row,) = rows("out/dynamic/tokens.jsonl")
    assert row["status"] == "unfinished"
    assert 0 < len(row["tokens"]) < 3000
    assert np.load("out/dynamic/steps.npz")["passes"].sum() == len(row["tokens"])
