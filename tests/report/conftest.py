"""Small folders of real simulations, made once: runs under two SLOs, studies of all kinds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.main
from reference.commands import write_trace

from orbitflow.cli import app

REQUESTS = [(0, 6000, 40), (200, 3000, 60), (400, 5000, 30), (900, 200, 1), (1500, 4000, 50)]
POLICIES = ("no-offload", "dynamic", "orbitflow")
OPTIONS = ("--kv-capacity-tokens", "12000", "--quiet")


def call(*arguments: str) -> None:
    """Run a command in this process."""
    typer.main.get_command(app).main(list(arguments), standalone_mode=False)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `run`, `other`, `study`, `search` and `capacity` in it."""
    root = tmp_path_factory.mktemp("report")
    write_trace(root / "tiny.jsonl", [(float(at), prompt, out) for at, prompt, out in REQUESTS])
    sim = ("sim", "--trace", str(root / "tiny.jsonl"), *OPTIONS)
    policies = [word for name in POLICIES for word in ("--policy", name)]
    call(*sim, *policies, "--out", str(root / "run"), "--bound")
    call(*sim, "--policy", "dynamic", "--slo-tbt", "90ms", "--out", str(root / "other"))
    grid = ("policy=no-offload,dynamic", "rate-scale=0.5,1", "slo-scale=1,2", "pipeline=ring,paper")
    axes = [word for axis in grid for word in ("--grid", axis)]
    study = ("study", "run", "--trace", str(root / "tiny.jsonl"), *OPTIONS, "--seeds", "2")
    call(*study, *axes, "--workers", "1", "--bound", "--out", str(root / "study"))
    few = ("study", "--trace", str(root / "tiny.jsonl"), *OPTIONS, "--workers", "1")
    vary = ("--vary", "max-batch=1..8", "--objective", "throughput_tokens_per_s")
    search = ("--search", "random", "--trials", "4", "--policy", "dynamic")
    call(*few[:1], "run", *few[1:], *vary, *search, "--out", str(root / "search"))
    asks = ("--target", "slo_attainment=0.5", "--tolerance", "30%", "--seeds", "1")
    rate = ("--vary", "rate-scale=0.1..1", "--policy", "dynamic", "--policy", "no-offload")
    call(*few[:1], "capacity", *few[1:], *asks, *rate, "--out", str(root / "capacity"))
    return root


@pytest.fixture
def copy(folders: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of one of the folders, to be broken."""

    def make(name: str) -> Path:
        target = tmp_path / name
        shutil.copytree(folders / name, target)
        return target

    return make
