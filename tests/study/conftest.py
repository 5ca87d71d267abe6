"""A small trace, a small study, and a place for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from orbitflow.study.study import Study, plan_study

from orbitflow.config import RunConfig
from orbitflow.study.grid import read_grid

MakeStudy = Callable[..., Study]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with one small trace."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    requests = [(0, 1000, 20), (500, 3000, 10), (900, 200, 1), (1500, 800, 5)]
    lines = [
        json.dumps({"timestamp": at, "input_length": prompt, "output_length": output})
        for at, prompt, output in requests
    ]
    (work / "tiny.jsonl").write_text("\n".join(lines) + "\n")
    return work


@pytest.fixture
def make_study() -> MakeStudy:
    """Plan a study of the small trace."""

    def make(
        *grid: str,
        seeds: int = 1,
        jitter: float | None = None,
        policies: Sequence[str] = (),
        slo_tbt_s: float | None = None,
        slo_scale: float = 1.5,
    ) -> Study:
        base = RunConfig(
            trace=str(Path("tiny.jsonl").resolve()),
            policies=tuple(policies),
            slo_tbt_s=slo_tbt_s,
            slo_scale=slo_scale,
        )
        return plan_study(base, read_grid(grid, None), seeds=seeds, arrival_jitter=jitter)

    return make
