"""The picture of docs/orbit.md: drawn from a study, whole, and its labels apart."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from reference.documents import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from rate_chart import LABEL_PX, draw, read

SVG = "{http://www.w3.org/2000/svg}"


def write_study(folder: Path, rates: tuple[float, ...]) -> None:
    cells = [
        {
            "cell": {"policy": policy, "rate_scale": rate},
            "figures": {"slo_attainment": {"mean": mean, "half_width": width}},
        }
        for policy, mean, width in (("orbit", 0.5, 0.1), ("<odd> & new", 0.5, None))
        for rate in rates
    ]
    study: dict[str, Any] = {"trace": {"name": "demo", "requests": 24}, "profile": "p"}
    study |= {"slo": {"tau_s": 0.1}, "seeds": 3, "grid": {"rate_scale": rates}, "cells": cells}
    (folder / "summary.json").write_text(json.dumps(study))


def test_every_point_is_drawn_and_labels_are_apart(tmp_path: Path) -> None:
    write_study(tmp_path, (1.0, 0.5))
    root = ElementTree.fromstring(draw(*read(tmp_path)))
    points = root.findall(f".//{SVG}circle")
    assert len(points) == 4
    assert len({point.get("cx") for point in points}) == 2
    assert {point.get("cy") for point in points} == {points[0].get("cy")}
    labels = [t for t in root.iter(f"{SVG}text") if t.text in ("orbit", "<odd> & new")]
    first, second = (float(label.get("y", "0")) for label in labels)
    assert abs(first - second) >= LABEL_PX


def test_a_study_of_one_rate_and_no_study_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no such file"):
        read(tmp_path)
    write_study(tmp_path, (1.0,))
    with pytest.raises(SystemExit, match="vary it"):
        read(tmp_path)


def test_the_committed_picture_is_whole() -> None:
    root = ElementTree.parse(ROOT / "docs" / "pictures" / "attainment-by-rate.svg").getroot()
    assert len(root.findall(f".//{SVG}circle")) == 40  # four policies at ten rates
