"""What the how-to guides say holds: a policy is one class in one file, a profile one
file.

The trace format has its own test beside the other formats: `tests/traces/test_adding_a_format.py`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from reference.documents import blocks

from orbitflow.cli.sim import run_simulation
from orbitflow.config import RunConfig
from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.profile import to_json
from orbitflow.policy import registry

ROOT = Path(__file__).resolve().parents[1]


def source_of_the_page() -> str:
    """The whole file that docs/howto/add-a-policy.md shows."""
    page = ROOT / "docs" / "howto" / "add-a-policy.md"
    return next("\n".join(b.lines) for b in blocks(page) if b.language == "python") + "\n"


SHAPES = [(0, 900, 30), (1, 100, 30), (2, 500, 30)]


def figures(
    tmp_path: Path, shapes: Sequence[tuple[int, int, int]] = SHAPES, **options: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    trace = tmp_path / "t.jsonl"
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


def test_a_policy_is_one_class_of_thirty_lines() -> None:
    source = source_of_the_page()
    lines = [line for line in source[source.index("class ") :].splitlines() if line.strip()]
    assert len(lines) <= 30
    assert not re.search(r"\._", source), "public names only"
    assert set(re.findall(r"import (\S+)", source)) == {"orbitflow"}


def test_a_policy_runs_from_its_file_and_streams(tmp_path: Path) -> None:
    file = tmp_path / "even_stream.py"
    file.write_text(source_of_the_page())
    # Of four requests of 1,000 tokens two fit into 2,500 tokens; streaming serves more at a time.
    trace = [(i, 1000, 40) for i in range(4)]
    summary, rows = figures(
        tmp_path, trace, policies=(f"{file}:EvenStream",), kv_capacity_tokens=2500
    )
    streamed = summary["policies"]["even-stream"]["link"]
    assert streamed["h2d_bytes"] > 0
    assert 0 < streamed["resident_share"] < 1
    assert all(row["status"] == "completed" for row in rows)
    admitted = sorted(row["admitted_s"] for row in rows)
    assert admitted[2] < min(row["last_token_s"] for row in rows)  # three at once


def test_a_policy_of_the_package_is_one_line_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("orbitflow.policy.even_stream")
    exec(source_of_the_page(), vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(registry._FACTORIES, "even-stream", "even_stream:EvenStream")
    summary, _ = figures(tmp_path, policies=("even-stream",))
    assert summary["policies"]["even-stream"]["admission"] == "some stride fits"
    assert "even-stream" in registry.builtin_names()


def test_a_profile_is_one_file(tmp_path: Path) -> None:
    document = json.loads(to_json(resolve_profile("a5000-llama3-8b-paper")))
    document["name"] = "mine"
    document["decode"]["base_s"] = 1.0
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(document))
    summary, rows = figures(tmp_path, policies=("no-offload",), profile=str(path))
    assert summary["profile"]["name"] == "mine"
    assert all(row["tpot_s"] > 1 for row in rows)
