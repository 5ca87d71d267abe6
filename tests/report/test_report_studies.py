"""Searches and capacity questions in a report: values that nobody planned, trials on no line."""

from __future__ import annotations

import json
import re
from pathlib import Path

from orbitflow.report.reading import read_inputs
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
    (charts,) = [block.charts for block in section.blocks if block.title == "Attainment"]
    content = json.loads(charts[0].to_json())
    assert len(content["data"]["cells"]["x"]) == 4
    assert set(content["data"]["cells"]["panel"]) == {""}
    assert '"line"' not in json.dumps(content["spec"])


def test_a_capacity_question_has_the_values_that_it_came_to(folders: Path) -> None:
    inputs = read_inputs([folders / "capacity"])
    (study,) = inputs.studies
    rates = {cell["cell"]["rate_scale"] for cell in stored(folders / "capacity")}
    assert study.grid["rate_scale"] == sorted(rates)
    for policy in study.grid["policy"]:
        own = [dict(c.others)["rate_scale"] for c in study.cells if c.policy == policy]
        assert own == sorted(own), "by number, not by text"
    (section,) = sections(inputs)
    assert [block.title for block in section.blocks] == ["What was varied", "Attainment", "Cells"]


def test_cells_of_fewer_seeds_are_said(folders: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    (study / "study.json").write_bytes((folders / "study" / "study.json").read_bytes())
    rows = (folders / "study" / "cells.jsonl").read_text().splitlines()
    gone = next(row for row in rows if "no-offload" in row)
    (study / "cells.jsonl").write_text("".join(f"{row}\n" for row in rows if row != gone))
    (section,) = sections(read_inputs([study]))
    assert "from 1 to 2 good simulations" in said(section)


def said(section: Section) -> str:
    """The sentences and warnings of a section."""
    blocks = section.blocks
    return " ".join(text for block in blocks for text in (*block.sentences, *block.warnings))


def stored(folder: Path) -> list[dict[str, dict[str, float]]]:
    """The cells of a folder's summary."""
    found = json.loads((folder / "summary.json").read_text())["cells"]
    assert found
    assert isinstance(found, list)
    return found
