"""The Python of docs/howto/use-from-python.md runs, and the notebooks' outputs are what their code
gives now.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from reference.documents import ROOT, blocks, links

import orbitflow as of

sys.path.insert(0, str(ROOT / "scripts"))
import notebooks

PAGE = ROOT / "docs" / "howto" / "use-from-python.md"
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {"__name__": "page"}
    first, *others = ["\n".join(b.lines) for b in blocks(PAGE) if b.language == "python"]
    exec(first, scope)
    assert list(scope["frame"].policy) == ["no-offload", "dynamic"]
    assert {"slo_attainment", "ttft_s.p95"} <= set(scope["frame"].columns)
    for text in others:
        exec(text, scope)
    assert len(scope["requests"]) == 24
    assert scope["result"].policies == ("no-offload", "shortest-first")
    assert len(scope["cells"]) == 8
    assert len(scope["runs"]) == 16
    assert isinstance(scope["study"], of.StudyResult)
    assert list(tmp_path.iterdir()) == []


def test_the_page_begins_with_five_lines() -> None:
    first = next(b for b in blocks(PAGE) if b.language == "python")
    assert len([line for line in first.lines if line.strip()]) <= 5


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_show_what_their_code_gives(path: Path) -> None:
    stored = path.read_text(encoding="utf-8")
    document = notebooks.executed(json.loads(stored))
    assert [cell for cell in document["cells"] if cell.get("outputs")], "it shows nothing"
    assert notebooks.text_of(document) == stored, "run scripts/docs"


def test_notebooks_are_named_on_the_page() -> None:
    named = {(PAGE.parent / link).resolve() for link in links(PAGE) if link.endswith(".ipynb")}
    assert named == set(NOTEBOOKS)


def test_an_output_that_is_stale_would_be_seen() -> None:
    cell = {"cell_type": "code", "metadata": {}, "source": ["print(1)\n", "2"], "outputs": []}
    (made,) = notebooks.executed({"cells": [cell]})["cells"]
    assert made["outputs"][0]["text"] == ["1\n"]
    assert made["outputs"][1]["data"] == {"text/plain": ["2"]}
    assert cell["outputs"] == []
