"""`--json` on every verb: stdout is one JSON document, stderr is empty."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from reference.commands import Invoke, invoker, write_trace

from orbitflow.cli import app

LEAVES = "study paper"  # for a command of its own


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORBITFLOW_CACHE", str(tmp_path / "no cache"))
    monkeypatch.chdir(tmp_path)
    write_trace(Path("tiny.jsonl"), [(0, 1000, 20), (500, 3000, 10), (900, 200, 1)])


@pytest.fixture
def orbitflow(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Invoke:
    return invoker(monkeypatch, capfd)


def verbs(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", {})
    for below, child in children.items():
        yield from verbs(child, f"{name} {below}".strip())
    if not children:
        yield name, command


def test_every_verb_takes_it() -> None:
    found = dict(verbs(typer.main.get_command(app)))
    assert len(found) > 15
    without = {
        name
        for name, command in found.items()
        if not any("--json" in parameter.opts for parameter in command.params)
    }
    assert without - {LEAVES} == set()


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        ("trace convert tiny.jsonl out.jsonl", {"path": "out.jsonl", "requests": 3}),
        ("trace synth --out twin.jsonl --num-requests 5", {"path": "twin.jsonl", "requests": 5}),
        ("trace paper p.json --num-requests 4", {"path": "p.json", "requests": 4}),
        ("trace inspect tiny.jsonl", {"name": "tiny", "requests": 3}),
        ("profile list", {"schema_version": 1}),
        ("profile show h100 --tp 2", {"name": "h100x2-roofline", "gpus": 2}),
        ("profile roofline --gpu h100 --tp 2 --model llama-3-8b", {"name": "h100x2-roofline"}),
        ("profile diff a5000 h100", {"first": "a5000-llama3-8b-paper", "second": "h100-roofline"}),
        ("plan --contexts 2000,8000 --kv-capacity-tokens 20000", {"schema_version": 1}),
        ("sim --trace tiny.jsonl --policy no-offload", {"schema_version": 1}),
    ],
)
def test_it_prints_one_document(orbitflow: Invoke, command: str, keys: dict[str, object]) -> None:
    result = orbitflow(*command.split(), "--json")
    assert (result.code, result.err) == (0, "")
    document = json.loads(result.out)
    assert {key: document[key] for key in keys} == keys


def test_a_diff_has_both_values_of_every_coefficient(orbitflow: Invoke) -> None:
    rows = json.loads(orbitflow("profile", "diff", "a5000", "h100", "--json").out)["coefficients"]
    by_name = {row["name"]: row for row in rows}
    assert by_name["host: attention"]["first"] == 60e9
    assert by_name["decode: pass"]["first"] > by_name["decode: pass"]["second"] > 0


def test_a_report_says_where_it_is(orbitflow: Invoke) -> None:
    pytest.importorskip("altair", reason="needs the report extra")
    orbitflow("sim", "--trace", "tiny.jsonl", "--policy", "no-offload", "--out", "run", "-q")
    result = orbitflow("report", "run", "-o", "page.html", "--json")
    assert (result.code, result.err) == (0, "")
    document = json.loads(result.out)
    assert document["path"] == "page.html"
    assert document["size_bytes"] == Path("page.html").stat().st_size
