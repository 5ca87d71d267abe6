"""Policies in processes of their own: the same bytes, counts as they go, and what can go wrong."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

import orbitflow as of
from orbitflow.api import side_by_side
from orbitflow.api.side_by_side import can_run_apart, simulate_side_by_side
from orbitflow.api.simulate import run_in_folder
from orbitflow.config import RunConfig
from orbitflow.errors import OrbitFlowError
from orbitflow.results.run_folder import RunFolder
from orbitflow.scenario import Scenario, build_scenario

POLICIES = ("no-offload", "dynamic", "preempt-swap")


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scenario:
    monkeypatch.setattr(side_by_side, "FEWEST_REQUESTS", 1)
    return build_scenario(RunConfig(trace="demo", policies=POLICIES, num_requests=40))


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.name != "env.json")
    return {str(f.relative_to(folder)): f.read_bytes() for f in files}


def test_the_same_bytes_as_one_after_another(tmp_path: Path, scenario: Scenario) -> None:
    said: dict[str, list[int]] = {name: [] for name in POLICIES}
    told: Callable[[str, int], None] = lambda name, over: said[name].append(over)  # noqa: E731
    for workers, name in ((1, "one"), (2, "two")):
        ran = run_in_folder(
            scenario, RunFolder(tmp_path / name), bounded=True, started="", began_s=0.0,
            told=told, workers=workers,
        )  # fmt: skip
        assert list(ran.reports) == list(POLICIES) == list(ran.wall_s)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    for counts in said.values():
        assert counts[0] == 0
        assert max(counts) == len(scenario.trace)


def test_a_policy_given_as_an_object_that_cannot_be_sent_stays_here(scenario: Scenario) -> None:
    assert can_run_apart(scenario, 2)
    assert not can_run_apart(scenario, 1)

    class Mine(of.Policy):
        name = "mine"

    local = build_scenario(scenario.config, guests={"mine": Mine})
    assert can_run_apart(local, 2)  # it is not asked for
    config = RunConfig(trace="demo", policies=("mine", "dynamic"), num_requests=40)
    assert not can_run_apart(build_scenario(config, guests={"mine": Mine}), 2)


def test_an_error_of_a_policy_comes_over(tmp_path: Path, scenario: Scenario) -> None:
    path = tmp_path / "bad.py"
    path.write_text(
        "import orbitflow as of\n\n\nclass Bad(of.Policy):\n"
        "    name = 'bad'\n    lengths = of.Lengths.NONE\n    admission = 'never'\n"
        "    data_plane = of.DataPlane(of.Overlap.RING, True, 2)\n\n"
        "    def decide(self, view):\n        raise ValueError('no idea')\n"
    )
    config = RunConfig(trace="demo", policies=("no-offload", f"{path}:Bad"), num_requests=40)
    with pytest.raises(ValueError, match="no idea"):
        simulate_side_by_side(build_scenario(config), tmp_path, 2, lambda name, over: None)


def test_a_killed_process_is_named(
    tmp_path: Path, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "_simulate", die)
    with pytest.raises(OrbitFlowError, match=r"preempt-swap was killed .* take --workers 1"):
        simulate_side_by_side(scenario, tmp_path, 1, lambda name, over: None)


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
