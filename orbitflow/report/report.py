"""A report: folders of runs and studies as one HTML file, with style, script and data inside it.

Text from files is escaped. The page's own security policy forbids it the network. The same input
gives the same bytes.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from functools import cache
from html import escape
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from orbitflow.report.chart import Chart, check_libraries
from orbitflow.report.read_runs import ReportInputs, read_inputs
from orbitflow.report.sections import Block, Section, sections
from orbitflow.report.theme import CONFIG

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data:"
)
_TITLE = "OrbitFlow report"


class Report(NamedTuple):
    """A page, and notices for the person who asked for it."""

    html: str
    notices: tuple[str, ...]


def make_report(paths: Sequence[Path]) -> Report:
    """Read these folders of runs and studies and make one page of them.

    Raise a UserError if one cannot be read, is of another schema version, or if what draws is not
    installed.
    """
    check_libraries()
    inputs = read_inputs(paths)
    notices = _notices(inputs)
    return Report(page(list(sections(inputs)), notices), notices)


def _notices(inputs: ReportInputs) -> tuple[str, ...]:
    notices = []
    slos = {run.slo for run in inputs.runs}
    if len(slos) > 1:
        notices.append(
            f"these runs were judged by {len(slos)} different SLOs: each has its own section; "
            "do not rank figures of different sections"
        )
    notices += [
        f"{run.label} is INCOMPLETE: {run.unfinished}"
        for run in inputs.runs
        if run.unfinished is not None
    ]
    notices += [
        f"{study.label} has {study.missing}: it has not finished"
        for study in inputs.studies
        if study.missing is not None
    ]
    return tuple(notices)


def page(sections: Sequence[Section], notices: Sequence[str]) -> str:
    """The whole file."""
    ids = (f"c{number}" for number in itertools.count())
    body = "".join(_section(n, section, ids) for n, section in enumerate(sections, 1))
    links = "".join(
        f'<li><a href="#s{n}">{escape(section.title)}</a></li>'
        for n, section in enumerate(sections, 1)
    )
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_TITLE}</title>",
            f"<style>{_resource('page.css')}</style></head><body>",
            f"<header><h1>{_TITLE}</h1>",
            '<div class="controls">',
            '<button type="button" id="fold">Unfold all</button>',
            '<button type="button" id="theme">Dark</button></div></header>',
            f"<noscript>{_warning('Charts need JavaScript; tables do not.')}</noscript>",
            *(_warning(notice) for notice in notices),
            f'<nav aria-label="Contents"><ul>{links}</ul></nav>',
            f"<main>{body}</main>",
            f'<script type="application/json" id="config">{_json(json.dumps(CONFIG))}</script>',
            f"<script>{javascript()}</script>",
            f"<script>{_resource('page.js')}</script>",
            "</body></html>\n",
        ]
    )


def _section(number: int, section: Section, ids: Iterator[str]) -> str:
    blocks = "".join(_block(block, ids) for block in section.blocks)
    return f'<section id="s{number}"><h2>{escape(section.title)}</h2>{blocks}</section>'


def _block(block: Block, ids: Iterator[str]) -> str:
    inner = "".join(
        [
            *(_warning(text) for text in block.warnings),
            *(f"<p>{escape(text)}</p>" for text in block.sentences),
            block.table,
            *(_figure(chart, next(ids)) for chart in block.charts),
        ]
    )
    title = escape(block.title)
    if not block.folds:
        return f"<h3>{title}</h3>{inner}"
    state = " open" if block.is_open else ""
    return f"<details{state}><summary><h3>{title}</h3></summary>{inner}</details>"


def _warning(text: str) -> str:
    return f'<p class="warning">{escape(text)}</p>'


def _figure(chart: Chart, name: str) -> str:
    slider = _slider(chart, name) if chart.extra is not None else ""
    return (
        f'<figure><h4>{escape(chart.title)}</h4>{slider}<div class="chart" id="{name}"></div>'
        f"<figcaption>{escape(chart.caption)}</figcaption>"
        f'<script type="application/json" data-for="{name}">{_json(chart.to_json())}</script>'
        "</figure>"
    )


def _slider(chart: Chart, name: str) -> str:
    assert chart.extra is not None
    last, first = len(chart.extra["frames"]) - 1, chart.extra["first"]
    return (
        f'<p class="slider"><label for="{name}-at">Decision</label>'
        f'<input type="range" id="{name}-at" min="0" max="{last}" value="{first}" step="1">'
        f'<output for="{name}-at"></output></p>'
    )


def _json(text: str) -> str:
    """JSON that cannot end the script element it stands in."""
    return text.replace("<", "\\u003c")


def _resource(name: str) -> str:
    return resources.files("orbitflow.report").joinpath(name).read_text(encoding="utf-8")


@cache
def javascript() -> str:
    """A script that defines `vegaEmbed` (Vega, Vega-Lite and Vega-Embed in one piece), safe inside
    a script element.
    """
    import vl_convert

    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script")
