"""The page in a real Chromium without a network: every chart draws, and the console stays clean."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from orbitflow.report.report import make_report

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
MARK = re.compile(r'<(?:path|rect|line|text)\b[^>]*\b(?:d="M|fill=|stroke=)')

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH"),
]


def browse(page: Path, wishes: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Open a page without a network and print what became of it."""
    assert CHROMIUM is not None
    return subprocess.run(
        [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--proxy-server=127.0.0.1:9", "--window-size=1280,900", "--enable-logging=stderr",
            "--virtual-time-budget=60000", f"--user-data-dir={page.parent / 'profile'}",
            *options, f"{page.as_uri()}#{wishes}",
        ],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip


def drawn(dom: str) -> dict[str, str]:
    """By chart: what is in its container, up to its caption."""
    charts = re.findall(r'<div class="chart[^"]*" id="(c\d+)"(.*?)<figcaption>', dom, re.DOTALL)
    return dict(charts)


@pytest.fixture(scope="module")
def page(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    validated = _validated(folders, path.parent)
    again = path.parent / "again"
    shutil.copytree(folders / "other", again)
    studies = [folders / name for name in ("study", "search", "capacity")]
    report = make_report([validated, folders / "other", again, *studies])
    path.write_text(report.html, encoding="utf-8")
    return path


def _validated(folders: Path, target: Path) -> Path:
    """The run with the files that a validation would have added."""
    run = target / "run"
    shutil.copytree(folders / "run", run)
    measured = np.linspace(0.05, 0.2, 50)
    np.savez(
        run / "dynamic" / "passes.npz",
        measured_s=measured,
        by_profile_s=measured * 0.9,
        believed_s=measured,
    )
    figure = {"name": "makespan_s", "measured": 2.0, "simulated": 1.9, "error": -0.05}
    found = {"dynamic": {"figures": [figure | {"is_share": False}]}}
    (run / "validation.json").write_text(json.dumps({"schema_version": 1, "policies": found}))
    return run


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_chart_draws_and_the_console_is_clean(page: Path, theme: str) -> None:
    done = browse(page, f"{theme},open", "--dump-dom")
    charts = drawn(done.stdout)
    assert list(charts) == [f"c{number}" for number in range(len(charts))]
    asked = page.read_text(encoding="utf-8").count('<div class="chart" id="c')
    assert len(charts) == asked > 15
    for name, content in charts.items():
        assert 'data-drawn="yes"' in content, (name, content[:200])
        assert "<svg" in content, name
        marks = content[content.index("mark-group role-frame") :]
        assert len(MARK.findall(marks)) > 5, name
    against_rate = next(c for c in charts.values() if "against rate scale" in c)
    assert {">0.5</text>", ">1</text>"} <= set(re.findall(r">[\d.]+</text>", against_rate))
    assert f'<html lang="en" data-theme="{theme}">' in done.stdout
    assert re.search(r"<output[^>]*>\d+, at [^<]+before pass \d+", done.stdout)
    assert "CONSOLE" not in done.stderr, re.findall(r".*CONSOLE.*", done.stderr)[:5]


def test_folded_charts_wait_until_they_are_unfolded(page: Path) -> None:
    dom = browse(page, "", "--dump-dom").stdout
    closed = re.findall(r"<details>.*?</details>", dom, re.DOTALL)
    inside = {name for part in closed for name in drawn(part)}
    charts = drawn(dom)
    assert 2 <= len(inside) < len(charts)
    for name, content in charts.items():
        assert ("<svg" in content) is (name not in inside), name


def test_it_prints_with_everything_unfolded(page: Path) -> None:
    target = page.parent / "report.pdf"
    done = browse(page, "", "--no-pdf-header-footer", f"--print-to-pdf={target}")
    assert "CONSOLE" not in done.stderr
    assert target.read_bytes().startswith(b"%PDF-")
    assert target.stat().st_size > 100_000


ACTS = """<script>setTimeout(() => {
  const slider = document.querySelector("input[type=range]");
  slider.value = 0;
  slider.dispatchEvent(new Event("input"));
  document.getElementById("theme").click();
  document.getElementById("fold").click();
}, 3000);</script></body>"""


def test_slider_and_buttons_work(page: Path) -> None:
    acted = page.with_name("acted.html")
    before, _, after = page.read_text(encoding="utf-8").rpartition("</body>")
    acted.write_text(before + ACTS + after, encoding="utf-8")
    done = browse(acted, "light", "--dump-dom")
    first = re.findall(r"<output[^>]*>(.*?)</output>", done.stdout)[0]
    assert first.startswith("1, at 0 s, before pass 0: admits")
    assert f'aria-valuetext="{first}"' in done.stdout
    assert '<html lang="en" data-theme="dark">' in done.stdout
    assert "<details><summary>" not in done.stdout, "everything is unfolded"
    assert all("<svg" in content for content in drawn(done.stdout).values())
    assert "CONSOLE" not in done.stderr
