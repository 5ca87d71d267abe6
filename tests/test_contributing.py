"""What the how-to guides say holds: a policy is one class and one registry line, a profile one
file.

The trace format has its own test beside the other formats: `tests/traces/test_adding_a_format.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from orbitflow.engine.policy import Policy
from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.profile import to_json
from reference.documents import blocks

from orbitflow.cli.sim import run_simulation
from orbitflow.config import RunConfig
from orbitflow.policy import registry

ROOT = Path(__file__).resolve().parents[1]


def policy_of_the_page() -> Callable[[], Policy]:
    """The whole policy that docs/howto/add-a-policy.md shows."""
    page = ROOT / "docs" / "howto" / "add-a-policy.md"
    text = next("\n".join(b.lines) for b in blocks(page) if b.language == "python")
    made: dict[str, Any] = {"__name__": "one_at_a_time"}
    exec(text, made)
    found: Callable[[], Policy] = made["OneAtATime"]
    return found


def figures(tmp_path: Path, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    trace = tmp_path / "t.jsonl"
    shapes = [(0, 900, 30), (1, 100, 30), (2, 500, 30)]
    names = ("timestamp", "input_length", "output_length")
    lines = [json.dumps(dict(zip(names, shape, strict=True))) for shape in shapes]
    trace.write_text("\n".join(lines))
    run_simulation(
        RunConfig(trace=str(trace), **options), tmp_path / "run", as_json=False, quiet=True
    )
    summary: dict[str, Any] = json.loads((tmp_path / "run/summary.json").read_text())
    (name,) = summary["policies"]
    rows = (tmp_path / "run" / name / "requests.jsonl").read_text().splitlines()
    return summary, [json.loads(row) for row in rows]


def test_a_policy_is_one_class_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._FACTORIES, "one-at-a-time", policy_of_the_page())
    summary, rows = figures(tmp_path, policies=("one-at-a-time",))
    assert summary["policies"]["one-at-a-time"]["admission"] == "alone, shortest first"
    assert [row["prompt_tokens"] for row in rows] == [900, 100, 500]  # then the shorter came first
    assert "one-at-a-time" in registry.policy_names()


def test_a_profile_is_one_file(tmp_path: Path) -> None:
    document = json.loads(to_json(resolve_profile("a5000-llama3-8b-paper")))
    document["name"] = "mine"
    document["decode"]["base_s"] = 1.0
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(document))
    summary, rows = figures(tmp_path, policies=("no-offload",), profile=str(path))
    assert summary["profile"]["name"] == "mine"
    assert all(row["tpot_s"] > 1 for row in rows)
