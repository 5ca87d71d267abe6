"""A new format is one file and one line of the registry, as docs/howto/add-a-trace.md shows."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from reference.documents import blocks

from orbitflow.errors import TraceError
from orbitflow.traces import formats, read_trace, resolve
from orbitflow.traces.rows import TraceFormat
from orbitflow.traces.write import convert

Write = Callable[[str | bytes], Path]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "add-a-trace.md"
THE_FILE = next("\n".join(b.lines) for b in blocks(PAGE) if "TraceFormat" in "".join(b.lines))
TEXT = "toy\n10 100 5\n9.5 200 6\n12 300 7\n"


@pytest.fixture(autouse=True)
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "toy.py"
    path.write_text(THE_FILE)
    spec = importlib.util.spec_from_file_location("toy", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    the_line: TraceFormat = module.TOY
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, the_line))


def test_it_is_recognised_and_read(write: Write) -> None:
    trace = resolve(str(write(TEXT)))
    assert trace.format == "toy"
    assert trace.arrival.tolist() == [0.0, 0.5, 2.5]
    assert trace.prompt_tokens.tolist() == [200, 100, 300]
    assert trace.notices == ("some.trace: 1 out-of-order lines sorted by arrival",)
    assert len(read_trace(write(TEXT), "toy", limit=2)) == 2


def test_it_converts(write: Write, tmp_path: Path) -> None:
    path, out = write(TEXT), tmp_path / "out.jsonl"
    convert(path, out)
    assert list(read_trace(out).requests()) == list(read_trace(path).requests())


def test_its_mistakes_have_a_line(write: Write) -> None:
    with pytest.raises(TraceError, match=r"some\.trace:5: prompt is '-1'; expected a whole number"):
        read_trace(write(TEXT + "13 -1 5\n"))


def test_it_is_among_those_tried(write: Write) -> None:
    with pytest.raises(TraceError, match=r"not a known trace format .*, toy$"):
        read_trace(write("something else"))
