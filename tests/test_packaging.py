"""Everything that is in the house is in the package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOUSES = ("sim", "backend", "traces", "calibrate")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def folders() -> Iterator[tuple[Path, str]]:
    """Each folder of the package, and the name it is imported by."""
    for house, name in (("orbitflow", "orbitflow"), *((h, f"orbitflow.{h}") for h in HOUSES)):
        for folder, inner, _ in os.walk(ROOT / house, followlinks=False):
            inner[:] = [i for i in inner if i != "__pycache__"]
            below = Path(folder).relative_to(ROOT / house).parts
            yield Path(folder), ".".join((name, *below))


def test_every_package_is_listed(project: dict[str, Any]) -> None:
    found = {name for folder, name in folders() if (folder / "__init__.py").exists()}
    assert found == set(project["tool"]["setuptools"]["packages"])


def test_folders_with_code_are_packages() -> None:
    for folder, _ in folders():
        if list(folder.glob("*.py")):
            assert (folder / "__init__.py").exists(), folder


def test_the_top_level_houses_are_mapped(project: dict[str, Any]) -> None:
    mapped = project["tool"]["setuptools"]["package-dir"]
    assert mapped == {f"orbitflow.{house}": house for house in HOUSES}


@pytest.mark.parametrize("house", HOUSES)
def test_links_for_editors_are_relative_and_committed(house: str) -> None:
    link = ROOT / "orbitflow" / house
    assert link.is_symlink()
    assert os.readlink(link) == f"../{house}"
    entry = subprocess.run(
        ["git", "ls-files", "--stage", f"orbitflow/{house}"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert entry.stdout.startswith("120000 "), "not committed as a link"


def test_every_data_file_is_shipped(project: dict[str, Any]) -> None:
    shipped = project["tool"]["setuptools"]["package-data"]
    for package, patterns in shipped.items():
        folder = next(folder for folder, name in folders() if name == package)
        for pattern in patterns:
            assert list(folder.glob(pattern)), f"{package}: nothing matches {pattern}"
    wanted = {folder.parent / "data" for folder, _ in folders() if folder.name == "data"}
    for data in wanted:
        package = next(name for folder, name in folders() if folder == data.parent)
        covered = {f for pattern in shipped[package] for f in data.parent.glob(pattern)}
        assert {f for f in data.iterdir() if f.is_file()} <= covered


def test_it_is_typed(project: dict[str, Any]) -> None:
    assert (ROOT / "orbitflow" / "py.typed").exists()
    assert "py.typed" in project["tool"]["setuptools"]["package-data"]["orbitflow"]


@pytest.mark.parametrize("name", ["orbitflow", "paper", "setup", "test", "check"])
def test_scripts_run(name: str) -> None:
    script = ROOT / "scripts" / name
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_ci_runs() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_one_version_everywhere(project: dict[str, Any]) -> None:
    import orbitflow

    assert project["project"]["version"] == orbitflow.__version__


def test_the_distribution_has_a_name_of_its_own(project: dict[str, Any]) -> None:
    """On PyPI `orbitflow` is another project: whoever asks pip for it would be given that."""
    name = project["project"]["name"]
    assert name == "orbitflow-serving"
    extras = project["project"]["optional-dependencies"]
    inside = [line for lines in extras.values() for line in lines if line.startswith("orbitflow")]
    assert inside
    assert all(line.startswith(f"{name}[") for line in inside)
    assert all(url.startswith("https://") for url in project["project"]["urls"].values())


@pytest.mark.parametrize("place", ["orbitflow", *HOUSES, "docs", "README.md", "CONTRIBUTING.md"])
def test_nobody_is_told_to_install_another_project(place: str) -> None:
    path = ROOT / place
    files = (
        [path]
        if path.is_file()
        else [f for f in path.rglob("*") if f.suffix in (".py", ".md", ".ipynb")]
    )
    assert files
    wrong = re.compile(r"pip install\s+(-\S+\s+)*['\"]?orbitflow(?!-serving)")
    assert not [file for file in files if wrong.search(file.read_text(encoding="utf-8"))]


def test_every_extra_that_a_message_names_is_there(project: dict[str, Any]) -> None:
    extras = project["project"]["optional-dependencies"]
    texts = [f.read_text() for f in (ROOT / "orbitflow").rglob("*.py")]
    named = {name for text in texts for name in re.findall(r"how_to_install\(['\"](\w+)", text)}
    assert {"plot", "report", "search", "parquet", "ray"} <= named <= set(extras)


def test_torch_is_an_extra(project: dict[str, Any]) -> None:
    needed = project["project"]["dependencies"]
    assert not [line for line in needed if line.startswith("torch")]
    assert project["project"]["optional-dependencies"]["torch"]


def test_what_the_project_file_names_exists(project: dict[str, Any]) -> None:
    assert (ROOT / project["project"]["readme"]).exists()
    for name in project["project"]["license-files"]:
        assert (ROOT / name).exists()
    for name in project["tool"]["mypy"]["files"]:
        assert (ROOT / name).exists(), name


@pytest.mark.slow
def test_the_wheel_has_every_module_and_data_file(tmp_path: Path) -> None:
    """Built offline; skipped where setuptools is too old or not there."""
    pytest.importorskip("setuptools", minversion="77")
    copy = tmp_path / "copy"
    wanted = ("orbitflow", *HOUSES, "pyproject.toml", "README.md", "LICENSE")
    copy.mkdir()
    subprocess.run(["cp", "-a", *wanted, str(copy)], cwd=ROOT, check=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index",
         "--quiet", "--wheel-dir", str(tmp_path), str(copy)],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    for folder, name in folders():
        place = name.replace(".", "/")
        for file in folder.iterdir():
            if file.suffix in (".py", ".json", ".typed"):
                assert f"{place}/{file.name}" in inside
