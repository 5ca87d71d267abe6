"""What `sim` prints: also where there is nothing to show, and who is best."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orbitflow.cli.tables import print_results, print_scenario
from orbitflow.config import RunConfig
from orbitflow.request import Request
from orbitflow.results.request_result import failed
from orbitflow.results.summary import PolicyReport, Refusal, Totals
from orbitflow.scenario import Scenario, build_scenario

DECLARED = {"admission": "fits", "output_lengths": "none", "deposit": True, "lossy": False}
Shown = pytest.CaptureFixture[str]


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    path = tmp_path / "tiny [bold]trace.jsonl"
    lines = [{"timestamp": 0, "input_length": 10, "output_length": 5}] * 2
    path.write_text("\n".join(map(json.dumps, lines)))
    return build_scenario(RunConfig(trace=str(path)))


def report(**changes: Any) -> PolicyReport:
    """A report in which nothing has a value but what is given."""
    figures = Totals(layers=4).to_json(DECLARED)
    link = changes.pop("link", {})
    figures["link"] = {**figures["link"], **link}  # type: ignore[dict-item]
    return PolicyReport({**figures, **changes}, ())


def row(shown: str, label: str) -> list[str]:
    line = next(line for line in shown.splitlines() if label in line)
    return [cell.strip() for cell in line.strip("│ ").split("│")][1:]


def test_no_values_at_all(scenario: Scenario, capsys: Shown) -> None:
    print_results(scenario, {"a": report(), "b": report()}, Path("runs/x-1"))
    shown, silent = capsys.readouterr()
    assert silent == ""
    for label in ("timely share", "SLO attainment", "TTFT p50", "goodput", "link busy"):
        assert row(shown, label) == ["n/a", "n/a"]
    assert "results in runs/x-1" in shown
    assert "None" not in shown
    assert "nan" not in shown


def test_values_in_their_units(scenario: Scenario, capsys: Shown) -> None:
    one = report(
        completed=12345,
        timely_share=0.9871,
        ttft_s={"p50": 0.461, "p95": None},
        makespan_s=17510.0,
        link={"h2d_bytes": 3 * 2**29, "resident_share": 0.5},
    )
    print_results(scenario, {"dynamic": one}, Path("x"))
    shown = capsys.readouterr().out
    for label, cell in (
        ("completed", "12,345"),
        ("timely share", "98.7 %"),
        ("TTFT p50", "461 ms"),
        ("TTFT p95", "n/a"),
        ("makespan", "4.86 h"),
        ("host to GPU", "1.5 GiB"),
        ("KV on the GPU", "50.0 %"),
    ):
        assert row(shown, label) == [cell]


def test_what_a_policy_knows_is_shown(scenario: Scenario, capsys: Shown) -> None:
    print_results(scenario, {"a": report(output_lengths="oracle", deposit=False)}, Path("x"))
    shown = capsys.readouterr().out
    assert row(shown, "knows output lengths") == ["oracle"]
    assert row(shown, "early tokens banked") == ["no"]


def bold(scenario: Scenario, monkeypatch: pytest.MonkeyPatch, capsys: Shown, label: str) -> str:
    """The line of the table with its colours."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    reports = {
        "a": report(timely_share=0.5, makespan_s=10.0, slo_attainment=1.0),
        "b": report(timely_share=0.75, makespan_s=20.0, slo_attainment=1.0),
        "c": report(makespan_s=20.0, slo_attainment=1.0),
    }
    print_results(scenario, reports, Path("x"))
    shown = capsys.readouterr().out
    return next(line for line in shown.splitlines() if label in line)


@pytest.mark.parametrize(("label", "best"), [("timely share", "75.0 %"), ("makespan", "10 s")])
def test_the_best_is_marked(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch, capsys: Shown, label: str, best: str
) -> None:
    """The most of what is good, the least of what is not; one mark."""
    line = bold(scenario, monkeypatch, capsys, label)
    marked = [part for part in line.split("\x1b[")[1:] if part.startswith("1;32m")]
    assert len(marked) == 1
    assert best in marked[0]


def test_nobody_is_best_where_all_are_equal(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch, capsys: Shown
) -> None:
    assert "1;32m" not in bold(scenario, monkeypatch, capsys, "SLO attainment")


def test_refusals_are_named(scenario: Scenario, capsys: Shown) -> None:
    refused = report()._replace(refusals=(Refusal(17, "needs [5] tokens, there is room for 3"),))
    print_results(scenario, {"dynamic": refused, "b": report()}, Path("x"))
    shown = " ".join(capsys.readouterr().out.split())
    assert "dynamic: " in shown
    assert "17" in shown
    assert "needs [5] tokens, there is room for 3" in shown
    assert "b: " not in shown


def test_many_refusals_stay_short(scenario: Scenario, capsys: Shown) -> None:
    many = tuple(Refusal(i, "too large") for i in range(1000))
    print_results(scenario, {"dynamic": report()._replace(refusals=many)}, Path("x"))
    shown = capsys.readouterr().out
    assert "1000" in shown or "1,000" in shown or "997 more" in shown
    assert "requests.jsonl" in shown
    assert shown.count("too large") < 20


def test_a_real_failure_renders(scenario: Scenario, capsys: Shown) -> None:
    totals = Totals(layers=4)
    totals.add(failed(Request(0, 0.0, 9, 9), "", tbt_limit_s=0.1, ttft_limit_s=2.0))
    print_results(scenario, {"a": PolicyReport(totals.to_json(DECLARED), ())}, Path("x"))
    shown = capsys.readouterr().out
    assert row(shown, "failed") == ["1"]
    assert row(shown, "SLO attainment") == ["0.0 %"]


def test_a_lossy_policy_is_marked(scenario: Scenario, capsys: Shown) -> None:
    print_results(scenario, {"a": report(), "b": report(lossy=True)}, Path("x"))
    assert "a │ b (lossy)" in " ".join(capsys.readouterr().out.replace("┃", "│").split())


def test_the_scenario_goes_to_stderr_and_is_not_markup(scenario: Scenario, capsys: Shown) -> None:
    print_scenario(scenario)
    out, shown = capsys.readouterr()
    assert out == ""
    assert "tiny [bold]trace" in shown
    for said in ("2 requests", "a5000-llama3-8b-paper", "46,208 tokens", "offered load", "SLO"):
        assert said in shown


def test_the_name_of_a_profile_file_is_not_markup(scenario: Scenario, capsys: Shown) -> None:
    """A closing tag without an opening one would even raise."""
    named = replace(scenario, profile=replace(scenario.profile, name="my [/b] profile"))
    print_scenario(named)
    assert "my [/b] profile" in capsys.readouterr().err
    print_results(named, {"a": report()}, Path("x"))
    assert "my [/b] profile" in " ".join(capsys.readouterr().out.split())


def test_a_table_title_is_not_markup(scenario: Scenario, capsys: Shown) -> None:
    print_results(scenario, {"a": report()}, Path("[bold]x"))
    shown = " ".join(capsys.readouterr().out.split())
    assert "tiny [bold]trace" in shown
    assert "results in [bold]x" in shown
