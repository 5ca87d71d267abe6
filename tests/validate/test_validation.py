"""A recorded run lived through again, and its simulation held to it.

No backend here: a run folder is written by a machine whose truth is known, the simulator itself,
so that the right answer is known as well: no error at all where the profile is true, and the error
that was put in where it is not.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reference.recorded import record

from orbitflow.config import RunConfig
from orbitflow.engine.journal import FinishCall
from orbitflow.engine.journal_lines import read_journal
from orbitflow.errors import UserError
from orbitflow.scenario import Scenario, build_scenario
from orbitflow.validate.compare import first_difference
from orbitflow.validate.recorded import read_run
from orbitflow.validate.validation import PolicyValidation, validate

REQUESTS = [(300.0 * i, 700 + 900 * (i % 4), 40 + 30 * (i % 3)) for i in range(14)]
POLICIES = ("no-offload", "dynamic", "orbitflow")


def scenario(tmp_path: Path, **options: object) -> Scenario:
    lines = [
        json.dumps({"timestamp": at, "input_length": prompt, "output_length": output})
        for at, prompt, output in REQUESTS
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(lines) + "\n")
    config = RunConfig(
        trace=str(tmp_path / "t.jsonl"),
        policies=POLICIES,
        kv_capacity_tokens=8000,
        **options,  # type: ignore[arg-type]
    )
    return build_scenario(config)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the plain scenario, and beside it its trace."""
    place = tmp_path_factory.mktemp("once")
    return record(scenario(place), place / "run")


@pytest.fixture
def recorded(once: Path, tmp_path: Path) -> Path:
    """A copy of it to play with."""
    return shutil.copytree(once, tmp_path / "run")


def validated(path: Path) -> dict[str, PolicyValidation]:
    return {found.policy: found for found in validate(read_run(path), lambda name: None)}


@pytest.mark.parametrize("chunk", [0, 256])
def test_a_true_profile_has_no_error(tmp_path: Path, chunk: int) -> None:
    found = validated(record(scenario(tmp_path, prefill_chunk=chunk), tmp_path / "run"))
    assert set(found) == set(POLICIES)
    for name, policy in found.items():
        assert policy.replay.divergence is None, name
        assert policy.difference is None, name
        for figure in policy.figures:
            assert figure.error == pytest.approx(0, abs=1e-9), (name, figure)
        assert policy.by_profile.passes == sum(
            len(entry.outcome.pass_end_s)
            for entry in read_journal(tmp_path / "run" / name / "journal.jsonl")
            if isinstance(entry, FinishCall)
        )
        assert policy.by_profile.median_absolute == pytest.approx(0, abs=1e-9)
        assert policy.replay.h2d_bytes[0] == policy.replay.h2d_bytes[1]
        assert policy.replay.d2h_bytes[0] == policy.replay.d2h_bytes[1]


def test_a_slower_machine_shows_as_the_error_that_it_is(tmp_path: Path) -> None:
    ran = scenario(tmp_path, perturb="compute=1.25", no_refine=True)
    found = validated(record(ran, tmp_path / "run"))
    policy = found["no-offload"]
    assert policy.replay.divergence is None
    assert policy.by_profile.median_absolute == pytest.approx(0.2, abs=1e-6)
    assert policy.by_profile.total == pytest.approx(-0.2, abs=1e-6)
    errors = {figure.name: figure.error for figure in policy.figures}
    assert errors["tpot_s.mean"] is not None
    assert errors["tpot_s.mean"] < -0.15


def test_the_refiner_believes_what_it_measures(tmp_path: Path) -> None:
    """A link half as fast as its profile says: by the end the policy predicts it."""
    ran = scenario(tmp_path, perturb="link=0.5", no_gate=True, slo_scale=1.0)
    ran = build_scenario(replace(ran.config, policies=("uniform-ilp",)))
    path = record(ran, tmp_path / "run")
    found = validated(path)["uniform-ilp"]
    passes = np.load(path / "uniform-ilp" / "passes.npz")
    streaming = (passes["host_layers"] > 0) & (passes["prefill_tokens"] == 0)
    assert streaming.sum() > 20, "nothing streamed"
    late = np.flatnonzero(streaming)[streaming.sum() // 2 :]
    by_profile = np.abs(passes["by_profile_s"][late] / passes["measured_s"][late] - 1).mean()
    believed = np.abs(passes["believed_s"][late] / passes["measured_s"][late] - 1).mean()
    assert by_profile > 0.1
    assert believed < by_profile / 4
    assert found.replay.divergence is None


def test_another_policy_than_was_recorded_diverges(recorded: Path) -> None:
    lines = (recorded / "dynamic" / "journal.jsonl").read_text()
    (recorded / "no-offload" / "journal.jsonl").write_text(lines)
    found = validated(recorded)
    assert found["no-offload"].replay.divergence is not None
    assert found["dynamic"].replay.divergence is None


def test_decision_logs_are_compared(tmp_path: Path) -> None:
    line = {
        "t_s": 1.0, "pass": 3, "admit": [1], "park": [], "drop": [], "resume": [],
        "host_layers": [], "exceptions": {}, "window": None, "gpu_pages": 1, "host_pages": 0,
    }  # fmt: skip

    def write(name: str, *lines: dict[str, object]) -> Path:
        (tmp_path / name).write_text("".join(json.dumps(one) + "\n" for one in lines))
        return tmp_path / name

    ours = write("ours", line, line)
    later = line | {"t_s": 1.2, "gpu_pages": 7}
    assert first_difference(ours, write("a", line, later)) is None
    found = first_difference(ours, write("b", line, line | {"admit": [1, 2]}))
    assert found is not None
    assert found.number == 1
    assert "admit: [1] and [1, 2]" in found.explanation
    shorter = first_difference(ours, write("c", line))
    assert shorter is not None
    assert "only the run decides once more" in shorter.explanation


# -- folders that are none -------------------------------------------------------------------------


def refusal(path: Path) -> str:
    try:
        list(read_run(path).entries("no-offload"))
    except UserError as refused:
        return str(refused)
    pytest.fail("it was not refused")


def test_folders_that_cannot_be_validated(recorded: Path) -> None:
    path = recorded
    assert "is no folder" in refusal(path / "none")
    (path / "INCOMPLETE").write_text("")
    assert "did not finish" in refusal(path)
    (path / "INCOMPLETE").unlink()
    config = (path / "config.toml").read_text()
    (path / "config.toml").write_text(config.replace("[backend]", "[other]"))
    assert "was simulated, not run" in refusal(path)
    (path / "config.toml").write_text("a = ")
    assert "is not TOML" in refusal(path)
    (path / "config.toml").write_text("a = 1")
    assert "no run's configuration" in refusal(path)
    (path / "config.toml").write_text(config.replace('solver = "auto"', 'solver = "cbx"'))
    assert "has solver = 'cbx', which orbitflow" in refusal(path)
    (path / "env.json").write_text('{"orbitflow_version": "0.0.7"}')
    (path / "config.toml").write_text("no_such_switch = true\n" + config)
    assert "written by orbitflow 0.0.7, has no_such_switch = True" in refusal(path)
    (path / "config.toml").write_text("no_such_switch = false\n" + config)
    read_run(path)
    (path / "config.toml").write_text(config)
    summary = (path / "summary.json").read_text()
    newer = summary.replace('"schema_version": 1', '"schema_version": 7')
    (path / "summary.json").write_text(newer)
    assert "has schema_version 7" in refusal(path)
    (path / "summary.json").write_text(summary.replace('"dynamic"', '"other"'))
    assert "lacks the policy dynamic" in refusal(path)
    (path / "summary.json").write_text(summary)
    journal = path / "no-offload" / "journal.jsonl"
    whole = journal.read_text()
    journal.write_text("{}\n" + whole)
    assert "journal.jsonl:1 is no line of a journal" in refusal(path)
    journal.write_text(whole.replace('"now_s"', '"nows"', 1))
    assert "journal.jsonl:2 is no line of a journal" in refusal(path)
    journal.unlink()
    assert "cannot be read" in refusal(path)


def test_a_torn_last_line_ends_a_journal(recorded: Path) -> None:
    path = recorded / "dynamic" / "journal.jsonl"
    entries = list(read_journal(path))
    path.write_text(path.read_text()[:-20])
    assert len(list(read_journal(path))) == len(entries) - 1
