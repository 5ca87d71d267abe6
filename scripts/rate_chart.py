"""Draw SLO attainment against arrival rate from a study over `rate_scale`, as an SVG.

usage: python scripts/rate_chart.py STUDY_FOLDER OUT.svg

The picture in docs/orbit.md:

    orbitflow study run --trace azure_conv --num-requests 500 --policy no-offload --policy dynamic \
        --policy orbitflow --policy orbit --seeds 3 --out studies/rate \
        --grid rate_scale=0.04,0.06,0.08,0.1,0.12,0.14,0.16,0.18,0.2,0.22
    python scripts/rate_chart.py studies/rate docs/pictures/attainment-by-rate.svg

Points are means over seeds, bars their 95 % intervals. Its own white ground keeps it readable on
dark pages; each line has a shape of its own besides its colour.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 62, 118, 62, 52
LABEL_PX = 16  # least distance between two labels
SHAPES = {
    "no-offload": ("#555555", "6 4"),
    "dynamic": ("#c0392b", "2 3"),
    "orbitflow": ("#0b66b5", "none"),
    "orbit": ("#0a7d55", "10 3 2 3"),
}
OTHER = ("#7d3c98", "4 2")
FONT = "font-family='system-ui, sans-serif' font-size='13'"


class Point(NamedTuple):
    """One cell of the study; the attainment and half its interval are shares."""

    rate_scale: float
    attainment: float
    half_width: float


def read(folder: Path) -> tuple[dict[str, list[Point]], dict[str, Any]]:
    """The points of each policy, by rising rate, and the study's summary."""
    path = folder / "summary.json"
    if not path.exists():
        raise SystemExit(f"{path}: no such file; give the folder of a finished study")
    study = json.loads(path.read_text(encoding="utf-8"))
    if len(study["grid"].get("rate_scale", ())) < 2:
        raise SystemExit(f"{path}: one rate or none; vary it: --grid rate_scale=0.1,0.2")
    lines: dict[str, list[Point]] = {}
    for result in study["cells"]:
        figure = result["figures"]["slo_attainment"]
        policy = result["cell"]["policy"]
        rate = float(result["cell"]["rate_scale"])
        lines.setdefault(policy, []).append(
            Point(rate, figure["mean"], figure["half_width"] or 0.0)
        )
    return {policy: sorted(points) for policy, points in lines.items()}, study


def draw(lines: dict[str, list[Point]], study: dict[str, Any]) -> str:
    """The SVG document."""
    rates = sorted({point.rate_scale for points in lines.values() for point in points})
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(rate: float) -> float:
        return LEFT + inner_width * (rate - rates[0]) / (rates[-1] - rates[0])

    def y(share: float) -> float:
        return TOP + inner_height * (1 - share)

    trace = study["trace"]
    about = f"{trace['requests']} requests of {trace['name']} on {study['profile']}"
    foot = HEIGHT - BOTTOM + 20
    note = f"{about}; tau {1e3 * study['slo']['tau_s']:.0f} ms, {study['seeds']} seeds, simulated"
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' role='img'>",
        f"<title>SLO attainment against arrival rate: {escape(about)}</title>",
        f"<rect width='{WIDTH}' height='{HEIGHT}' rx='8' fill='#ffffff'/>",
        f"<g {FONT} fill='#333333'>",
        f"<text x='{LEFT}' y='24' font-weight='600'>Requests that meet both limits, by rate</text>",
        f"<text x='{LEFT}' y='43' font-size='12' fill='#555555'>{escape(note)}</text>",
    ]
    for tenth in range(0, 11, 2):
        at = y(tenth / 10)
        parts.append(f"<path d='M{LEFT} {at:.1f}H{WIDTH - RIGHT}' stroke='#dddddd'/>")
        parts.append(
            f"<text x='{LEFT - 8}' y='{at + 4:.1f}' text-anchor='end'>{10 * tenth} %</text>"
        )
    for rate in rates:
        parts.append(f"<text x='{x(rate):.1f}' y='{foot}' text-anchor='middle'>{rate:g}</text>")
    parts.append(
        f"<text x='{LEFT + inner_width / 2:.1f}' y='{HEIGHT - 12}' text-anchor='middle'>"
        "arrival rate, as a multiple of the trace's own</text>"
    )
    ends = _apart({policy: y(points[-1].attainment) for policy, points in lines.items()})
    for policy, points in lines.items():
        colour, dash = SHAPES.get(policy, OTHER)
        path = "L".join(f"{x(p.rate_scale):.1f} {y(p.attainment):.1f}" for p in points)
        parts.append(
            f"<path d='M{path}' fill='none' stroke='{colour}' stroke-width='2.2' "
            f"stroke-dasharray='{dash}'/>"
        )
        for p in points:
            low, high = max(0.0, p.attainment - p.half_width), min(1.0, p.attainment + p.half_width)
            at = x(p.rate_scale)
            parts.append(
                f"<path d='M{at:.1f} {y(low):.1f}V{y(high):.1f}' stroke='{colour}' "
                f"stroke-width='1.2'/><circle cx='{at:.1f}' cy='{y(p.attainment):.1f}' r='3' "
                f"fill='{colour}'/>"
            )
        parts.append(
            f"<text x='{WIDTH - RIGHT + 10}' y='{ends[policy] + 4:.1f}' fill='{colour}' "
            f"font-weight='600'>{escape(policy)}</text>"
        )
    return "\n".join([*parts, "</g>", "</svg>"]) + "\n"


def _apart(wanted: dict[str, float]) -> dict[str, float]:
    """Labels near the ends of their lines, none upon another."""
    placed: dict[str, float] = {}
    last = -float(LABEL_PX)
    for policy in sorted(wanted, key=lambda name: wanted[name]):
        last = max(wanted[policy], last + LABEL_PX)
        placed[policy] = last
    over = last - (HEIGHT - BOTTOM)
    return {name: at - max(0.0, over) for name, at in placed.items()}


def main() -> None:
    """Read the study, write the picture."""
    if len(sys.argv) != 3:
        raise SystemExit("usage: rate_chart.py STUDY_FOLDER OUT.svg")
    lines, study = read(Path(sys.argv[1]))
    Path(sys.argv[2]).write_text(draw(lines, study), encoding="utf-8")


if __name__ == "__main__":
    main()
