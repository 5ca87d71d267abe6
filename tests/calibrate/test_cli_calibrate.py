"""`orbitflow calibrate`: early refusals in one line, the files it leaves, how they are shown."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from orbitflow.cli import app
from orbitflow.errors import UserError
from orbitflow.machine.profile import load

TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not TORCH, reason="needs the torch extra")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    from orbitflow.calibrate.sweep import Sweep

    monkeypatch.setattr(Sweep, "QUICK", Sweep.TINY)


@needs_torch
@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_it_leaves_a_profile_and_a_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the plot extra")
    out, plot = tmp_path / "mine.json", tmp_path / "mine.svg"
    made = run(
        *("calibrate", "--quick", "--model", "tiny", "--out", str(out), "--plot", str(plot)),
        *("--link-bandwidth", "0.6GB/s", "--kv-capacity-tokens", "4000"),
    )
    assert made.exit_code == 0
    profile = load(out)
    assert profile.kv_capacity_tokens() == 4000
    assert "emulated link of 0.6 GB/s" in profile.provenance.device
    assert len(profile.provenance.date) == len("2026-01-31")
    for said in (
        "decode",
        "prefill",
        "h2d",
        "KV capacity 4,000",
        "R²",
        f"orbitflow sim --profile {out}",
    ):
        assert said in made.stdout
    assert plot.read_text().startswith("<?xml")
    with pytest.raises(UserError, match="exists: name another file, or overwrite it"):
        run("calibrate", "--quick", "--model", "tiny", "--out", str(out))
    again = run("calibrate", "--quick", "--model", "tiny", "--out", str(out), "--force", "--json")
    assert again.stderr == ""
    about = json.loads(again.stdout)
    assert (about["path"], about["profile"]) == (str(out), load(out).name)
    assert {"decode", "prefill", "h2d"} <= {error["curve"] for error in about["errors"]}
    shown = run("profile", "show", str(out)).stdout
    assert "unchanged since" in shown
    compared = run("profile", "diff", str(out), "a5000-roofline").stdout
    assert "different models: tiny and llama-3-8b" in compared


@needs_torch
@pytest.mark.usefixtures("small")
def test_an_early_interruption_leaves_the_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, keep: Any, **__: object) -> None:
        from orbitflow.calibrate.runner import SweepPoint

        keep((SweepPoint("decode", (1.0, 40.0), 0.01, 0.1, 2),))
        raise KeyboardInterrupt

    monkeypatch.setattr("orbitflow.calibrate.calibration.calibrate", interrupted)
    out = tmp_path / "mine.json"
    assert run("calibrate", "--quick", "--model", "tiny", "--out", str(out)).exit_code == 130
    assert not out.exists()
    left = json.loads((tmp_path / "mine.partial.json").read_text())
    assert left["points"][0]["curve"] == "decode"


@needs_torch
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--plot", "p.txt"), r"--plot p.txt: end it in .svg, .pdf, .png"),
        (("--gpu", "0", "--device", "cpu"), "--gpu 0 and --device cpu: give one of them"),
        (("--gpu", "-1"), "GPUs are counted from 0"),
        (("--device", "tpu"), "--device tpu is unknown"),
        (("--link-bandwidth", "fast"), "--link-bandwidth: cannot read 'fast'"),
        (("--kv-capacity-tokens", "0"), "must be at least 1"),
        (("--out", "nowhere/p.json"), "there is no folder nowhere"),
        (("--model", "tiny-lama", "--out", "p.json"), "no model 'tiny-lama'"),
    ],
)
def test_refusals_come_before_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said) as refusal:
        run("calibrate", *arguments)
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_a_plot_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    from orbitflow.cli.calibrate_view import check_plot

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[plot\]'"):
        check_plot(Path("p.svg"))


def test_ratios_of_a_diff() -> None:
    printed = run("profile", "diff", "a5000-llama3-8b-paper", "a6000-llama3-8b-paper").stdout
    row = next(line for line in printed.splitlines() if "decode: pass" in line)
    for cell in ("49.5 ms", "40.6 ms", "0.82"):
        assert cell in row
    assert "different models" not in printed
