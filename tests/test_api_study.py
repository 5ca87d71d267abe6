"""Studies from Python: those of the command, with policies that workers import or unpickle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from reference.commands import Invoke, invoker

import orbitflow as of
from orbitflow.config import Fidelity
from orbitflow.errors import PolicyNameError, UserError

FEW: dict[str, Any] = {"num_requests": 5, "kv_capacity_tokens": 4000}
FEW_WORDS = ("--num-requests", "5", "--kv-capacity-tokens", "4000")
SOURCE = """
from orbitflow.policy.no_offload import NoOffload

class Mine(NoOffload):
    name = "mine"
    def __init__(self, mark=""):
        self.mark = mark

class Failing(Mine):
    name = "failing"
    def decide(self, view):
        raise RuntimeError("no idea")
"""


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Invoke:
    return invoker(monkeypatch, capfd)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(SOURCE)
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "of_a_module.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    return tmp_path


@pytest.mark.slow
def test_a_study_is_that_of_the_command(here: Path, invoke: Invoke) -> None:
    policies = ["dynamic", "mine.py:Mine"]
    words = [word for policy in policies for word in ("--policy", policy)]
    done = invoke(
        *("study", "run", "--trace", "demo", *words, *FEW_WORDS, "--grid", "slo_scale=1,2"),
        *("--seeds", "2", "--workers", "1", "--bound", "--out", "command", "-q"),
    )
    assert done.code == 0, done.err
    grid = {"slo_scale": [1, 2]}
    asked: dict[str, Any] = {"grid": grid, "seeds": 2, "workers": 1, "bound": True, **FEW}
    study = of.run_study("demo", policies, out="function", **asked)
    for name in ("study.json", "summary.json", "cells.jsonl"):
        assert (here / "function" / name).read_bytes() == (here / "command" / name).read_bytes()
    assert study.content == json.loads((here / "function/summary.json").read_text())

    before = (here / "function/cells.jsonl").read_bytes()
    again = of.run_study("demo", policies, out="function", **asked)  # nothing is left to do
    assert again.content == study.content
    assert (here / "function/cells.jsonl").read_bytes() == before
    (here / "mine.py").write_text(SOURCE + "# edited\n")
    with pytest.raises(UserError, match=r"holds another study .*inputs"):
        of.run_study("demo", policies, out="function", **asked)


@pytest.mark.slow
def test_objects_travel_and_nothing_is_left(here: Path) -> None:
    import of_a_module  # type: ignore[import-not-found]

    policies = [of_a_module.Mine("travels"), "no-offload"]
    study = of.run_study("demo", policies, grid={"slo_scale": 2}, workers=1, **FEW)
    frame = study.frame("numpy")
    assert frame["policy"].tolist() == ["mine", "no-offload"]
    assert frame["ok"].tolist() == [1, 1]
    assert frame["ttft_s.mean"][0] == frame["ttft_s.mean"][1]
    assert {"slo_scale", "slo_tbt_s", "ttft_s.mean.half_width"} <= set(frame)
    runs = study.runs("numpy")
    assert runs["status"].tolist() == ["ok", "ok"]
    assert runs["admission"].tolist() == ["full length fits"] * 2
    assert {p.name for p in here.iterdir()} <= {"mine.py", "modules", "__pycache__"}
    assert repr(study).startswith("2 cells\npolicy")
    assert study._repr_html_().count("<tr>") == 3


def test_numbers_of_a_grid_are_in_the_unit_of_the_name(here: Path) -> None:
    grid: dict[str, Any] = {
        "slo_tbt_s": [0.1, "200ms"],
        "gpu_memory": "20GiB",
        "fidelity": Fidelity.LAYER,
    }
    study = of.run_study("demo", "dynamic", grid=grid, workers=1, num_requests=3)
    found = study.frame("numpy")
    assert found["slo_tbt_s"].tolist() == [0.1, 0.2]
    assert found["gpu_memory_bytes"].tolist() == [20 * 2**30] * 2
    assert found["fidelity"].tolist() == ["layer"] * 2


@pytest.mark.slow
def test_what_fails_is_said(here: Path) -> None:
    with pytest.warns(UserWarning, match="1 of 2 simulations failed: RuntimeError: no idea"):
        study = of.run_study("demo", ["mine.py:Failing", "dynamic"], workers=1, **FEW)
    assert study.failed == 1
    assert study.errors == ("RuntimeError: no idea",)
    assert "1 simulations failed" in repr(study)


@pytest.mark.slow
def test_a_script_needs_no_guard(here: Path) -> None:
    """Workers do not run the script that started them again."""
    script = here / "script.py"
    script.write_text(
        "import orbitflow as of\n"
        "print('begins')\n"
        "study = of.run_study('demo', ['mine.py:Mine'], workers=1, num_requests=3)\n"
        "print(study.failed, 'failed')\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout == "begins\n0 failed\n"
    assert done.stderr == ""


def test_policies_that_cannot_travel(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import of_a_module

    class Local(of_a_module.Mine):  # type: ignore[misc]
        pass

    with pytest.raises(
        PolicyNameError, match=r"mine cannot be pickled .*give 'file\.py:Local'"
    ) as said:
        of.run_study("demo", Local(), **FEW)
    assert "\n" not in str(said.value)
    monkeypatch.setattr(Local, "__module__", "__main__")
    for given in (Local, Local()):
        with pytest.raises(
            PolicyNameError, match=r"cannot import .*Local from a script or notebook"
        ):
            of.run_study("demo", given, **FEW)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"trace": of.load_trace("demo")}, "trace of a study is read by its workers"),
        ({"profile": of.load_profile("a5000-roofline")}, "profile of a study is read by its work"),
        ({"workers": 0}, "workers=0 must be at least 1"),
        ({"seeds": 0}, "--seeds 0 must be at least 1"),
        ({"grid": {"policy": ["dynamic"]}}, r"policies vary by policies=\[...\]"),
        ({"grid": {"slo_scael": [1]}}, "no option is called 'slo_scael': did you mean slo_scale"),
        ({"grid": {"slo_scale": []}}, r"grid\['slo_scale'\] has no values"),
        ({"grid": {"slo_scale": ["wide"]}}, "slo_scale: cannot read 'wide'"),
        ({"grid": {"rate_scale": [None]}}, r"grid\['rate_scale'\] has None: give plain values"),
        ({"grid": [1]}, r"grid is \[1\]: give a mapping such as"),
        ({"grid": {"slo_scale": None}}, "slo_scale is None: leave it out"),
        ({"grid": {"slo_scale": [1, 2]}, "slo_tbt_s": "60ms"}, "slo_tbt_s stands instead of slo_s"),
        ({"seeds": "2"}, "seeds is '2': write a whole number"),
        ({"workers": "2"}, "workers is '2': write a whole number"),
        ({"timeline": True}, "studies keep no timelines"),
    ],
)
def test_studies_that_are_none(here: Path, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        of.run_study(**{"trace": "demo", "policies": "dynamic", **asked})
    assert not (here / "studies").exists()
