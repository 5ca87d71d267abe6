"""A profile that is accepted can be simulated, whatever its numbers: its ranges are tight."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.commands import write_trace

from orbitflow.config import RunConfig
from orbitflow.errors import OrbitFlowError
from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.profile import load, to_json
from orbitflow.results.summary import flat
from orbitflow.scenario import build_scenario
from orbitflow.sim.run import simulate_policy
from orbitflow.study.task import Discard

DOCUMENT = to_json(resolve_profile("a5000-llama3-8b-paper", None))
EXTREMES = (0, 1, 2, 10**4, 10**6, 10**12, 10**18, 1e-300, 1e-18, 1e-9, 0.5, 0.9, 2.0, 1e3, 1e6)
BEYOND = (1e12, 1e18, 1e30, 1e308, -1, 10**30)


def numbers(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where the numbers of a document are."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2])
    for key, item in inner:
        if isinstance(item, dict | list):
            yield from numbers(item, (*path, key))
        elif isinstance(item, int | float) and not isinstance(item, bool):
            yield (*path, key)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trace of four requests."""
    folder = tmp_path_factory.mktemp("profiles")
    arrivals = [(0.0, 6000, 12), (200.0, 3000, 16), (400.0, 5000, 8), (900.0, 200, 1)]
    write_trace(folder / "t.jsonl", arrivals)
    return folder


@settings(max_examples=300, derandomize=True, database=None)
@given(
    changes=st.dictionaries(
        st.sampled_from(sorted(numbers(json.loads(DOCUMENT)), key=str)),
        st.sampled_from((*EXTREMES, *BEYOND)),
        min_size=1,
        max_size=2,
    ),
    policy=st.sampled_from(("no-offload", "dynamic", "orbitflow", "orbit")),
)
def test_accepted_profiles_can_be_simulated(
    root: Path, changes: dict[tuple[str | int, ...], float], policy: str
) -> None:
    document = json.loads(DOCUMENT)
    for path, number in changes.items():
        place = document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = number
    file = root / "profile.json"
    file.write_text(json.dumps(document))
    try:
        load(file)
        config = RunConfig(trace=str(root / "t.jsonl"), policies=(policy,), profile=str(file))
        scenario = build_scenario(config)
    except OrbitFlowError as refusal:
        said = str(refusal)
    else:
        said = ""
    assert "\n" not in said
    if said:
        return
    report = simulate_policy(scenario, policy, Discard(), lambda done: None)
    assert dict(flat(report.figures))["requests"] == 4
