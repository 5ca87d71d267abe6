"""`orbitflow profile`: what a person reads, and JSON that loads again."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from orbitflow.machine.catalog import profile_names, resolve_profile
from orbitflow.machine.profile import FitError, LinkFit, load, save
from typer.testing import CliRunner

from orbitflow.cli.profile import profile_app
from orbitflow.errors import ProfileError


def run(*arguments: str) -> str:
    result = CliRunner().invoke(profile_app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_list_shows_every_profile_whole() -> None:
    printed = run("list")
    for name in profile_names():
        assert name in printed
    row = next(line for line in printed.splitlines() if "a5000-llama3-8b-paper" in line)
    for cell in ("llama-3-8b", "24.0 GiB", "46,208", "49.5 ms", "94 ms", "7.62", "published"):
        assert cell in row


def test_list_as_json() -> None:
    """A full pass of the A5000: 0.0495 + 9.63e-7 x 46,208 = 0.0940 s."""
    document = json.loads(run("list", "--json"))
    assert document["schema_version"] == 1
    rows = {row["name"]: row for row in document["profiles"]}
    assert list(rows) == profile_names()
    row = rows["a5000-llama3-8b-paper"]
    assert row["decode_empty_s"] == 0.0495
    assert row["decode_full_s"] == pytest.approx(0.0495 + 9.63e-7 * 46_208)
    assert row["link_bytes_per_s"] == pytest.approx(7.62e9, rel=1e-3)


def test_show_tells_source_fit_and_assumptions() -> None:
    printed = run("show", "a100-llama3-8b-paper")
    for said in ("8.03 billion", "459,088 tokens in pages of 16", "48.3 ms", "7.24 GB/s"):
        assert said in printed
    for said in ("arXiv 2601.10729", "R² 0.943", "raw pass time", "50 % of the dense bf16 peak"):
        assert said in printed


def test_show_of_a_model_that_does_not_fit() -> None:
    printed = run("show", "a5000-roofline", "--model", "llama-3-70b")
    assert "none: 131.4 GiB" in printed
    assert "none: nothing fitted" in printed


def test_show_of_a_calibrated_file(tmp_path: Path) -> None:
    profile = replace(
        resolve_profile("h100-roofline"),
        name="mine",
        host=None,
        host_memory_bytes=64 * 1024**3,
        link_slowdown=0.125,
        h2d=LinkFit(2e-6, (262144.0, 1048576.0), (40e9, 50e9)),
        errors=(FitError("decode", 40, 10, None, 0.012, 0.05),),
        simplified=(),
    )
    save(profile, tmp_path / "mine.json")
    printed = run("show", str(tmp_path / "mine.json"))
    for said in ("40.00 GB/s at 256.0 KiB, 50.00 GB/s at 1.0 MiB; 2 µs a run", "12.5%"):
        assert said in printed
    for said in ("40 points, 10 held out", "median 1.2%", "worst 5.0%", "not measured", "nothing"):
        assert said in printed
    assert "64.0 GiB" in printed


@pytest.mark.parametrize("name", profile_names())
def test_show_as_json_is_the_file_format(name: str, tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    path.write_text(run("show", name, "--json"))
    assert load(path) == resolve_profile(name)


def test_errors_reach_the_caller() -> None:
    with pytest.raises(ProfileError, match="did you mean"):
        run("show", "a5000-rooflin")
    with pytest.raises(ProfileError, match="roofline profile"):
        run("show", "a5000-llama3-8b-paper", "--model", "qwen3-8b")


def test_help_loads_nothing_but_typer() -> None:
    code = (
        "import sys, orbitflow.cli.profile\n"
        "print(*{'numpy', 'orbitflow.machine.catalog', 'orbitflow.machine.profile'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
