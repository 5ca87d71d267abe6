"""`orbitflow doctor`: what it looks at, and when it says that something is broken."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from orbitflow.cli import app
from orbitflow.cli.doctor import Health, examine


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with nothing in it."""
    monkeypatch.setenv("ORBITFLOW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def states() -> dict[str, Health]:
    return {finding.name: finding.state for finding in examine()}


def test_a_sound_installation() -> None:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 0, result.stdout
    document = json.loads(result.stdout)
    assert document["schema_version"] == 1
    assert document["ok"]
    found = {finding["name"]: finding for finding in document["findings"]}
    for name in ("python", "orbitflow", "numpy", "simpy", "typer", "rich", "profiles", "self-test"):
        assert found[name]["state"] == "ok", found[name]
    assert "50 requests" in found["self-test"]["detail"]
    assert "synthetic twin" in found["trace azure_conv"]["detail"]
    assert found["cache"]["state"] == "missing"
    assert "trace fetch" in found["cache"]["detail"]
    for name in ("pulp", "highspy", "torch"):
        assert found[name]["state"] == "ok" or "needed for" in found[name]["detail"]


def test_every_line_says_how_it_is() -> None:
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0, result.stdout
    assert all(line.split()[0] in set(Health) for line in result.stdout.splitlines())


def test_what_is_needed_and_broken_exits_1(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = importlib.import_module

    def broken(name: str, package: str | None = None) -> ModuleType:
        if name == "simpy":
            raise ImportError("half of it\nis gone")
        return genuine(name, package)

    monkeypatch.setattr(importlib, "import_module", broken)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    line = next(line for line in result.stdout.splitlines() if " simpy " in line)
    assert line.startswith("broken")
    assert "pip install --force-reinstall simpy" in line
    assert "half of it is gone" in line


def test_a_damaged_trace_in_the_cache_is_broken(cache: Path) -> None:
    from orbitflow.traces.public import find_public

    public = find_public("azure_conv")
    assert public is not None
    cache.mkdir()
    (cache / public.file_name).write_text("no trace")
    found = {finding.name: finding for finding in examine()}
    assert found["cache"].state is Health.OK
    assert found["trace azure_conv"].state is Health.BROKEN
    assert "orbitflow trace fetch" in found["trace azure_conv"].detail


def test_a_profile_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbitflow.machine.catalog.profile_names", lambda: ["a5000-rooflin"])
    assert states()["profiles"] is Health.BROKEN
