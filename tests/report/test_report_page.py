"""What stands in a page: tables, charts' data, words, and nothing of the network."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference.commands import write_trace

from orbitflow.report.chart import AxisUnit, fill, numbers, ticks_of_ratios, ticks_s
from orbitflow.report.read_runs import ReportInputs, read_inputs
from orbitflow.report.report import javascript, page
from orbitflow.report.sections import Budget, sections
from orbitflow.report.tables import key_name, service_table, study_table
from orbitflow.report.theme import looks, series_of
from orbitflow.study.keys import key_text
from report.conftest import call

Copy = Callable[[str], Path]
STAR = "★"


@pytest.fixture(scope="module")
def inputs(folders: Path) -> ReportInputs:
    return read_inputs([folders / "run", folders / "other", folders / "study"])


@pytest.fixture(scope="module")
def html(inputs: ReportInputs) -> str:
    return page(list(sections(inputs)), ())


def rows(table: str) -> list[list[str]]:
    """Cells of a table's rows, the head first."""
    lines = re.findall(r"<tr.*?>(.*?)</tr>", table, re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line, re.DOTALL) for line in lines]
    return [[re.sub(r"<.*?>", "", cell) for cell in line] for line in cells]


def all_charts(html: str) -> list[dict[str, Any]]:
    """The charts of a page in their order."""
    found = re.findall(r"<script type=\"application/json\" data-for=.*?>(.*?)</script>", html)
    return list(map(json.loads, found))


def charts(html: str) -> dict[str, dict[str, Any]]:
    """The charts of a page by their titles; of those of one title, the last."""
    return {chart["spec"]["description"]: chart for chart in all_charts(html)}


# -- tables ---------------------------------------------------------------------------------------


def test_the_policy_table_marks_the_best_of_each_column(inputs: ReportInputs) -> None:
    run = inputs.runs[0]
    series = series_of([run], looks([policy.name for policy in run.policies]))
    head, *lines = rows(service_table(series))
    assert head[:3] == ["policy", "timely share", "SLO attained"]
    names = [line[0] for line in lines]
    assert names == ["no-offload", "dynamic", "orbitflow", "upper bound"]
    for column, (title, key, best) in {
        1: ("timely share", "timely_share", max),
        head.index("TTFT p95"): ("TTFT p95", "ttft_s", min),
    }.items():
        assert head[column] == title
        figures = [policy.figures[key] for policy in run.policies]
        values = [f["p95"] if isinstance(f, dict) else f for f in figures]
        marked = [STAR in line[column] for line in lines[:3]]
        assert marked == [value == best(values) for value in values], title
        assert STAR not in lines[3][column]


def test_policies_of_different_workloads_are_not_ranked(inputs: ReportInputs, copy: Copy) -> None:
    """The same run at twice the rate: each has its own best, or none where it is alone."""
    path = copy("run").rename(copy("other") / "fast") / "summary.json"
    summary = json.loads(path.read_text())
    summary["trace"]["rate_scale"] = 2.0
    summary["policies"] = {"dynamic": summary["policies"]["dynamic"] | {"timely_share": 1.0}}
    path.write_text(json.dumps(summary))
    runs = read_inputs([inputs.runs[0].path, path.parent]).runs
    series = series_of(runs, looks(["no-offload", "dynamic", "orbitflow"]))
    head, *lines = rows(service_table(series))
    assert head[:2] == ["policy", "run"]
    alone = [line for line in lines if line[1] == "fast" and line[0] == "dynamic"]
    assert len(alone) == 1
    assert STAR not in "".join(alone[0])
    assert sum(STAR in line[2] for line in lines) == 1


def test_the_study_table_ranks_policies_all_else_equal(inputs: ReportInputs) -> None:
    (study,) = inputs.studies
    head, *lines = rows(study_table(study))
    assert head[:4] == ["rate scale", "SLO scale", "pipeline", "policy"]
    assert [line[3] for line in lines[:3]] == ["no-offload", "dynamic", "bound"]
    assert len(lines) == 8 * 3
    for group in range(0, len(lines), 3):
        assert [STAR in line[4] for line in lines[group : group + 3]] == [True, False, False]
    assert all("±" in line[4] for line in lines)


@pytest.mark.parametrize(
    ("key", "value", "name", "text"),
    [
        ("slo_tbt_s", 0.1, "SLO TBT", "100 ms"),
        ("host_memory_bytes", 1 << 30, "host memory", "1.0 GiB"),
        ("kv_capacity_tokens", 12000, "KV capacity tokens", "12,000"),
        ("rate_scale", 0.18, "rate scale", "0.18"),
        ("no_gate", True, "no gate", "True"),
        ("pipeline", "ring", "pipeline", "ring"),
    ],
)
def test_keys_for_people(key: str, value: Any, name: str, text: str) -> None:
    assert key_name(key) == name
    assert key_text(key, value) == text


# -- sections -------------------------------------------------------------------------------------


def test_every_slo_has_its_own_section(html: str, inputs: ReportInputs) -> None:
    parts = html.split("<section ")[1:]
    assert len(parts) == 3
    assert "TBT 90 ms" in parts[1]
    assert "other" in parts[1]
    assert "no-offload" not in rows(parts[1].split("</table>")[0])[1]
    assert "<h2>Study: study</h2>" in parts[2]
    assert [rows(part)[0][0] for part in parts] == ["policy", "policy", "rate scale"]


def test_what_does_not_fit_is_left_out_and_said(
    inputs: ReportInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orbitflow.report.sections.MOST_HISTORIES", 2)
    found = [block for section in sections(inputs) for block in section.blocks]
    histories = [block.title for block in found if block.title.startswith("History of")]
    assert histories == ["History of no-offload", "History of dynamic"]
    left = [block.sentences[0] for block in found if block.title == "Histories left out"]
    assert len(left) == 2
    assert left[0].startswith("1 histories and placement maps are left out")
    assert "orbitflow report FOLDER" in left[0]
    budget = Budget()
    assert not budget.is_spent


# -- charts ---------------------------------------------------------------------------------------


def test_every_chart_that_was_promised_is_there(html: str) -> None:
    titles = set(charts(html))
    for name in ("no-offload", "dynamic", "orbitflow"):
        assert {f"{name} over time", f"Placement under {name}"} <= titles
    assert titles >= {
        *("Attainment", "SLO attainment by prompt length", "Time to first token"),
        *("Time per output token", "Time between tokens"),
        *("Timely share against rate scale", "SLO attained against rate scale"),
        *("Timely share against SLO scale", "SLO attained against SLO scale"),
    }
    assert not any("pipeline" in title for title in titles), "a key without numbers has no axis"


def test_distributions_go_up_to_the_share_that_was_served(html: str, folders: Path) -> None:
    summary = json.loads((folders / "other" / "summary.json").read_text())
    figures = summary["policies"]["dynamic"]
    ecdf = charts(html)["Time to first token"]["data"]["ecdf"]
    assert ecdf["share"][-1] == pytest.approx(figures["completed"] / figures["requests"])
    assert ecdf["share"][0] == 0
    assert ecdf["s"][-2] == pytest.approx(figures["ttft_s"]["max"], rel=1e-4)
    assert ecdf["s"][-1] > ecdf["s"][-2], "a curve goes on to the end of the axis"
    gaps = charts(html)["Time between tokens"]["data"]["ecdf"]
    assert gaps["s"][-2] == pytest.approx(figures["tbt_s"]["max"], rel=1e-4)
    middle = np.interp(0.5, gaps["share"][1:-1], gaps["s"][1:-1])
    assert middle == pytest.approx(figures["tbt_s"]["p50"], rel=0.02)


def test_of_many_runs_there_are_points(inputs: ReportInputs, copy: Copy) -> None:
    """Fifteen runs, which are described once; only so many curves are drawn, and that is said."""
    first = copy("other")
    paths = [first]
    for number in range(14):
        paths.append(first.with_name(f"seed-{number}"))
        shutil.copytree(first, paths[-1])
    (section,) = sections(read_inputs(paths))
    blocks = {block.title: block for block in section.blocks}
    (about,) = blocks["What was run"].sentences
    assert about.startswith("other, seed-0, seed-1")
    assert "and 7 more: tiny (5 requests over about" in about
    (chart,) = blocks["Policies"].charts
    assert chart.title == "Attainment over the runs"
    assert len(chart.data["bars"]["run"]) == 15 * 4
    assert not blocks["Machine use"].is_open
    assert "first 12 of 15" in blocks["Distributions"].sentences[0]


def test_a_run_that_served_nobody(tmp_path: Path) -> None:
    write_trace(tmp_path / "big.jsonl", [(0.0, 90_000, 5)])
    out = tmp_path / "big"
    trace = ("--trace", str(tmp_path / "big.jsonl"), "--kv-capacity-tokens", "9000")
    call("sim", *trace, "--policy", "no-offload", "--out", str(out), "--quiet")
    (section,) = sections(read_inputs([out]))
    blocks = {block.title: block for block in section.blocks}
    assert blocks["Distributions"].charts == ()
    assert blocks["Distributions"].sentences == ("No token was generated.",)
    assert blocks["History of no-offload"].sentences == ("No request was served.",)


def test_one_token_has_no_gaps(tmp_path: Path) -> None:
    write_trace(tmp_path / "one.jsonl", [(0.0, 100, 1)])
    out = tmp_path / "one"
    trace = ("--trace", str(tmp_path / "one.jsonl"))
    call("sim", *trace, "--policy", "no-offload", "--out", str(out), "--quiet")
    (section,) = sections(read_inputs([out]))
    blocks = {block.title: block for block in section.blocks}
    assert [chart.title for chart in blocks["Distributions"].charts] == ["Time to first token"]
    assert len(blocks["History of no-offload"].charts) == 2


def test_a_study_says_what_was_varied(html: str) -> None:
    said = "policy no-offload, dynamic; rate scale 0.5, 1; SLO scale 1, 2; pipeline ring, paper"
    assert f"{said}; 2 seeds." in html
    assert "Cells of different SLO scale have different SLOs and are not ranked." in html


def test_a_study_has_error_bars_and_a_bound(html: str, inputs: ReportInputs) -> None:
    chart = charts(html)["Timely share against rate scale"]["data"]["cells"]
    assert set(chart["series"]) == {"no-offload", "dynamic", "bound"}
    assert set(chart["x"]) == {0.5, 1}
    assert sorted(set(chart["panel"])) == [
        f"SLO scale {scale}, pipeline {form}" for scale in (1, 2) for form in ("paper", "ring")
    ]
    for low, mean, high in zip(chart["low"], chart["mean"], chart["high"], strict=True):
        assert 0 <= low <= mean <= high <= 1


def test_a_policy_has_one_colour_in_all_charts(html: str) -> None:
    def colours(part: Any) -> list[tuple[str, str]]:
        if isinstance(part, Mapping):
            own = []
            if "domain" in part and "range" in part and "var(--hue" in str(part["range"]):
                own = list(zip(part["domain"], part["range"], strict=True))
            return own + [pair for value in part.values() for pair in colours(value)]
        return [pair for value in part for pair in colours(value)] if isinstance(part, list) else []

    found = {pair for chart in all_charts(html) for pair in colours(chart["spec"])}
    by_name = {name: {color for other, color in found if other == name} for name, _ in found}
    assert {"no-offload", "dynamic", "orbitflow"} <= set(by_name)
    assert all(len(colors) == 1 for colors in by_name.values()), by_name
    assert len({next(iter(colors)) for colors in by_name.values()}) == len(by_name)


def test_looks_differ_and_last() -> None:
    few = looks(["select-n", "orbit"])
    many = looks(["orbit", "neo", "select-n", "dynamic", *map(str, range(20))])
    assert few["orbit"] == many["orbit"] == looks(["orbit"])["orbit"]
    assert len(set(many.values())) == len(many)


# -- the file -------------------------------------------------------------------------------------


class _References(HTMLParser):
    """Every address that a browser would follow by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "action", "data", "poster", "srcset") and value is not None:
                self.found.append((tag, value))


def test_nothing_is_fetched(html: str) -> None:
    parser = _References()
    parser.feed(html)
    assert parser.found
    assert all(tag == "a" and value.startswith("#") for tag, value in parser.found)
    assert "default-src 'none'" in html
    style = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert len(style) == 1
    assert "url(" not in style[0]
    assert "@import" not in style[0]
    for chart in all_charts(html):
        assert "http" not in json.dumps(chart)


def test_what_comes_from_files_is_escaped(copy: Copy) -> None:
    evil = "</script><img src=x onerror=alert(1)>&\"'"
    run = copy("other")
    path = run / "summary.json"
    summary = json.loads(path.read_text())
    name = "<b>bold</b>"
    summary["trace"]["name"] = summary["profile"]["model"] = summary["slo"]["origin"] = evil
    summary["policies"] = {name: summary["policies"]["dynamic"]}
    path.write_text(json.dumps(summary))
    (run / "dynamic").rename(run / "strange")
    (run / "<b>bold<").mkdir()
    (run / "strange").rename(run / "<b>bold<" / "b>")
    (run / "INCOMPLETE").write_text(evil)
    html = page(list(sections(read_inputs([run]))), (evil,)).replace(javascript(), "")
    assert "<img" not in html
    assert "<b>" not in html
    assert html.count("<script") == html.count("</script>")
    assert "&lt;b&gt;bold" in html


# -- small parts ----------------------------------------------------------------------------------


def test_numbers_are_short() -> None:
    values = [1.23456789, 1e6, float("nan"), 0.1 + 0.2, 12345678.0]
    assert numbers(values) == [1.2346, 1000000, None, 0.3, 12346000]


def test_forms_are_filled() -> None:
    form = {"a": ["@x", {"b": "@y"}], "c": 3, "d": "text"}
    assert fill(form, {"@x": 1, "@y": [2]}) == {"a": [1, {"b": [2]}], "c": 3, "d": "text"}


@pytest.mark.parametrize(
    ("span_s", "unit"), [(0.5, "s"), (179, "s"), (180, "min"), (10_000, "min"), (90_000, "h")]
)
def test_time_has_a_unit_that_fits(span_s: float, unit: str) -> None:
    assert AxisUnit(span_s).name == unit


@pytest.mark.parametrize(
    ("low", "high", "least"), [(0.05, 0.2, 2), (1e-3, 1e3, 5), (1e-5, 1e6, 5), (60, 7200, 4)]
)
def test_ticks_are_few_and_round(low: float, high: float, least: int) -> None:
    ticks = ticks_s(low, high)
    assert least <= len(ticks) <= 10
    assert all(low <= tick <= high for tick in ticks)
    assert ticks == sorted(set(ticks))


def test_ticks_of_ratios_are_round() -> None:
    assert ticks_of_ratios(0.009, 2.0) == [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
    assert ticks_of_ratios(1e-6, 1.0) == [1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0]
    assert ticks_of_ratios(3.0, 4.0) == []
