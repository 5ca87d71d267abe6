"""One HTML file of sections: text, tables and charts, style and script inside it.

Whatever comes from files is escaped; a policy of the page itself forbids it the network. The same
input gives the same bytes.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources

from orbitflow.report.chart import Chart
from orbitflow.report.report import javascript
from orbitflow.report.sections import Block, Section
from orbitflow.report.theme import CONFIG

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data:"
)
_TITLE = "OrbitFlow report"


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
