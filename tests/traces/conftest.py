"""Where the real traces lie, which are not in the repository, and small ones to play with."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from orbitflow.traces import Trace


@pytest.fixture(scope="session")
def shared_traces() -> Path:
    """The folder of real traces; a test that needs it is skipped where there is none."""
    repository = Path(__file__).resolve().parents[2]
    shared = Path(os.environ.get("ORBITFLOW_SHARED", repository.parent / "shared"))
    if not (shared / "traces").is_dir():
        pytest.skip(f"no real traces in {shared / 'traces'}; ORBITFLOW_SHARED names their place")
    return shared / "traces"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """Write a trace file whose name says nothing of its format."""

    def write_file(content: str | bytes) -> Path:
        path = tmp_path / "some.trace"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


@pytest.fixture
def small() -> Trace:
    """Three requests, the second with an SLO of its own."""
    return Trace(
        name="small",
        source="made by hand",
        format="canonical",
        arrival=np.array([0.0, 0.5, 2.0]),
        arrival_unit="s",
        prompt_tokens=np.array([10, 200, 3000]),
        output_tokens=np.array([1, 20, 300]),
        slo_tbt_s=np.array([np.nan, 0.1, np.nan]),
    )
