"""Searches and capacity questions in a report: values that nobody planned, trials on no line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orbitflow.errors import UserError
from orbitflow.report.chart import Chart
from orbitflow.report.read_runs import read_inputs
from orbitflow.report.sections import Section, sections
from orbitflow.report.tables import STAR, study_table

ROW = re.compile(r"<tr.*?>(.*?)</tr>", re.DOTALL)


def test_a_search_has_its_trials_the_best_first(folders: Path) -> None:
    (study,) = read_inputs([folders / "search"]).studies
    (section,) = sections(read_inputs([folders / "search"]))
    sizes = [cell["cell"]["max_batch"] for cell in stored(folders / "search")]
    assert study.grid["max_batch"] == sorted(sizes), "not the ends of the space"
    assert "throughput_tokens_per_s as large as possible: 4 trials by random" in said(section)
    head, *lines = ROW.findall(study_table(study))
    assert "throughput_tokens_per_s" in head
    reached = [cell.figures["throughput_tokens_per_s"].mean for cell in study.cells]
    assert reached == sorted(reached, reverse=True)
    assert len(set(reached)) > 1
    assert len(lines) == 4
    assert STAR in lines[0]


def test_trials_are_points_of_one_panel(folders: Path) -> None:
    (section,) = sections(read_inputs([folders / "search"]))
    chart = only_chart(section)
    assert chart.title == "Throughput_tokens_per_s against max batch"
    content = json.loads(chart.to_json())
    reached = [c["figures"]["throughput_tokens_per_s"]["mean"] for c in stored(folders / "search")]
    assert sorted(content["data"]["cells"]["mean"]) == pytest.approx(sorted(reached), rel=1e-4)
    assert len(content["data"]["cells"]["x"]) == 4
    assert set(content["data"]["cells"]["panel"]) == {""}
    assert '"line"' not in json.dumps(content["spec"])


@pytest.mark.parametrize(("drawn", "scale"), [(True, "log"), (False, None)])
def test_what_was_drawn_by_its_logarithm_has_such_an_axis(
    copy: Callable[[str], Path], *, drawn: bool, scale: str | None
) -> None:
    folder = copy("search")
    definition = json.loads((folder / "study.json").read_text())
    definition["search"]["space"]["max_batch"]["log"] = drawn
    definition["search"].update(objective="ttft_s.p95", direction="min")
    (folder / "study.json").write_text(json.dumps(definition))
    (section,) = sections(read_inputs([folder]))
    chart = only_chart(section)
    assert chart.title == "TTFT p95 against max batch"
    encodings = [layer["encoding"] for layer in chart.spec["layer"]]
    assert {encoding["x"]["scale"].get("type") for encoding in encodings} == {scale}
    assert "domain" not in json.dumps([encoding["y"] for encoding in encodings]), "not a share"
    assert " ms" in encodings[-1]["y"]["axis"]["labelExpr"]


def test_a_capacity_question_has_the_values_that_it_came_to(folders: Path) -> None:
    inputs = read_inputs([folders / "capacity"])
    (study,) = inputs.studies
    rates = {cell["cell"]["rate_scale"] for cell in stored(folders / "capacity")}
    assert study.grid["rate_scale"] == sorted(rates)
    for policy in study.grid["policy"]:
        own = [dict(c.others)["rate_scale"] for c in study.cells if c.policy == policy]
        assert own == sorted(own), "by number, not by text"
    (section,) = sections(inputs)
    titles = [block.title for block in section.blocks]
    assert titles == ["Answers", "What was varied", "What was looked for", "Cells"]


def test_a_capacity_question_has_its_answers_first(folders: Path) -> None:
    (section,) = sections(read_inputs([folders / "capacity"]))
    found = json.loads((folders / "capacity" / "capacity.json").read_text())
    head, *lines = [re.sub("<.*?>", "|", row) for row in ROW.findall(section.blocks[0].table)]
    for words in ("policy", "highest met", "slo_attainment", "lowest missed"):
        assert words in head
    assert "seeds met" not in head, "one seed has no interval"
    assert len(lines) == len(found["answers"]) == 2
    between, beyond = found["answers"]
    met, missed = between["met"], between["missed"]
    offered = f"{met['value']:g} ({met['requests_per_s']:.3g} req/s)"
    assert f"|dynamic||{offered}|" in lines[0]
    assert f"|{missed['value']:g}|" in lines[0]
    assert "|no-offload||1 (" in lines[1]
    assert "★" in lines[1]
    assert lines[1].endswith("|none|")
    (warning,) = section.blocks[0].warnings
    assert warning.startswith("no-offload: the target is met everywhere, tested from 0.1 to 1:")
    assert beyond["outcome"] == "met_everywhere"
    chart = only_chart(section)
    assert chart.title == "SLO attained against rate scale"
    assert chart.spec["layer"][0]["encoding"]["x"]["scale"]["type"] == "log"
    assert "highest rate_scale with slo_attainment >= 0.5" in said(section)


def test_what_was_not_found_is_said(copy: Callable[[str], Path]) -> None:
    folder = copy("capacity")
    file = folder / "capacity.json"
    found = json.loads(file.read_text())
    never, stuck = found["answers"]
    never.update(outcome="met_nowhere", met=None, fails_easier_at=[0.5, 0.25])
    stuck.update(outcome="failed", met=None, error="OSError: no space")
    file.write_text(json.dumps(found))
    (section,) = sections(read_inputs([folder]))
    nowhere, falls, failed = section.blocks[0].warnings
    assert nowhere.startswith("dynamic: the target is met nowhere, tested from 0.1 to")
    assert falls == "dynamic: not monotone: fails again at 0.5, 0.25"
    assert failed == "no-offload: a simulation failed: OSError: no space"
    for word in ("none", "failed"):
        assert f"<td>{word}</td>" in section.blocks[0].table
    assert STAR not in section.blocks[0].table


@pytest.mark.parametrize("content", ["{", '{"schema_version": 1}', '{"schema_version": 2}'])
def test_answers_that_are_none_are_refused(copy: Callable[[str], Path], content: str) -> None:
    folder = copy("capacity")
    (folder / "capacity.json").write_text(content)
    with pytest.raises(UserError, match=r"capacity\.json"):
        read_inputs([folder])


def test_cells_of_fewer_seeds_are_said(folders: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    (study / "study.json").write_bytes((folders / "study" / "study.json").read_bytes())
    rows = (folders / "study" / "cells.jsonl").read_text().splitlines()
    gone = next(row for row in rows if "no-offload" in row)
    (study / "cells.jsonl").write_text("".join(f"{row}\n" for row in rows if row != gone))
    (section,) = sections(read_inputs([study]))
    assert "from 1 to 2 good simulations" in said(section)


def only_chart(section: Section) -> Chart:
    """The one chart of a section."""
    (chart,) = [chart for block in section.blocks for chart in block.charts]
    return chart


def said(section: Section) -> str:
    """The sentences and warnings of a section."""
    blocks = section.blocks
    return " ".join(text for block in blocks for text in (*block.sentences, *block.warnings))


def stored(folder: Path) -> list[dict[str, dict[str, Any]]]:
    """The cells of a folder's summary."""
    found = json.loads((folder / "summary.json").read_text())["cells"]
    assert found
    assert isinstance(found, list)
    return found
