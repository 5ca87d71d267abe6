"""Write docs/reference from the code: the command line, policies, profiles, figures.

usage: scripts/docs [--check]     with --check nothing is written; exit 1 if a page is stale

A page is a function of the code alone: no width of a terminal, no path and no date gets into it.
`tests/docs/test_reference.py` fails when a committed page is not what this writes.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from reference_cli import cli_page

from orbitflow.cli.tables import labels
from orbitflow.engine.policy import DataPlane, Policy
from orbitflow.machine.catalog import DEFAULT_PROFILE, profile_names, resolve_profile
from orbitflow.machine.cost import CostModel
from orbitflow.machine.hardware import hardware_table
from orbitflow.machine.profile import Profile
from orbitflow.policy.registry import DEFAULT_POLICIES, builtin_names, make_policy
from orbitflow.results import metrics
from orbitflow.results.summary import Totals
from orbitflow.study.figures import DIRECTIONS, NO_DIRECTION
from orbitflow.units import format_bytes, format_count, format_seconds

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
MADE = "<!-- Made by scripts/docs from the code; do not edit. -->\n\n"


def policies_page() -> str:
    """The text of docs/reference/policies.md."""
    made = [make_policy(name) for name in builtin_names()]
    lines = [
        "# Policies",
        "",
        "What each policy declares. Tables of `orbitflow sim` and `run` show the first columns. "
        f"Without `--policy` they compare {', '.join(f'`{n}`' for n in DEFAULT_POLICIES)}; "
        "`--policy all` takes every row of this table, and `static-D` any D of at least 1. "
        "Yours is [one class in one file](../howto/add-a-policy.md).",
        "",
        "| policy | output lengths | admits when | overlap | KV on the host | marks |",
        "|---|---|---|---|---|---|",
        *(_policy_row(policy) for policy in made),
        "",
        "Output lengths: `none` only what has been generated; `cap` the request's own limit; "
        "`quantile` statistics of finished requests; `oracle` the true length, which no server "
        "knows.",
        "",
        "Overlap names the form of `orbitflow/machine/pipeline.py` that times its transfers "
        "([the model](../explanation/model.md)).",
        "",
    ]
    modules: dict[str, list[Policy]] = {}
    for policy in made:
        modules.setdefault(inspect.getfile(type(policy)), []).append(policy)
    for file, members in modules.items():
        lines += [f"## {', '.join(policy.name for policy in members)}", ""]
        place = Path(file).relative_to(Path(inspect.getfile(make_policy)).parent).as_posix()
        lines += [f"From `orbitflow/policy/{place}`:", "", "```text"]
        lines += [inspect.getdoc(inspect.getmodule(type(members[0]))) or "", "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _policy_row(policy: Policy) -> str:
    marks = {
        "lossy": policy.is_lossy,
        "prefills again": policy.recomputes,
        "not first come first served": policy.admits_out_of_turn,
        "delivers at the SLO's pace": policy.has_deposit,
    }
    shown = ", ".join(mark for mark, holds in marks.items() if holds)
    plane = policy.data_plane
    return (
        f"| `{policy.name}` | {policy.lengths} | {policy.admission} | {plane.overlap} "
        f"| {_host_read(plane)} | {shown} |"
    )


def _host_read(plane: DataPlane) -> str:
    read = plane.host_read
    if read.attends:
        return "the CPU attends to it"
    if read.selects:
        return f"the CPU gathers {read.fetched_share:.0%} of the tokens"
    return "streamed" if plane.ring_groups or plane.write_through else "none while it runs"


def profiles_page() -> str:
    """The text of docs/reference/profiles.md."""
    every = [resolve_profile(name) for name in profile_names()]
    fitted = [p for p in every if p.provenance.method != "roofline"]
    table = hardware_table()
    first = next(p for p in every if p.provenance.method == "roofline")
    lines = [
        "# Built-in profiles",
        "",
        f"`--profile NAME` takes one of these, or a file. The default is `{DEFAULT_PROFILE}`. "
        "Rooflines are shown for llama-3-8b and take any `--model`; `--tp N` shares it among N "
        "GPUs, as `GPUxN-roofline` does. The name of a GPU alone, such as `h100`, takes "
        "`h100.json` of the working folder if it is there, else a published fit for the model, "
        "else the roofline. "
        "A pass is one decode pass of one request, with empty and with full KV. "
        "None of these was measured by this project; `orbitflow calibrate` measures yours.",
        "",
        "| profile | GPU memory | KV, tokens | pass, empty | full | link, GB/s | obtained by |",
        "|---|---|---|---|---|---|---|",
        *(_profile_row(profile) for profile in every),
        "",
    ]
    for profile in fitted:
        lines += [f"## {profile.name}", "", *_provenance(profile), ""]
        errors = [f"{e.curve} {e.r2:.2f}" for e in profile.errors if e.r2 is not None]
        lines += [f"R² as published: {', '.join(errors)}.", "", "Assumed or simplified:", ""]
        lines += [*(f"* {line}" for line in profile.simplified), ""]
    lines += ["## Rooflines", "", "Nothing here is measured. Assumed in all of them:", ""]
    lines += [*(f"* {line}" for line in first.simplified), ""]
    lines += [f"Data sheets, checked {table.checked}:", ""]
    lines += ["| GPU | device | HBM, GB/s | bf16 dense, TFLOP/s | link | source |"]
    lines += ["|---|---|---|---|---|---|"]
    lines += [
        f"| `{g.name}` | {g.device} | {g.hbm_gb_per_s:g} | {g.bf16_dense_tflops:g} "
        f"| {g.link}, {g.link_gb_per_s:g} GB/s | {g.source} |"
        for g in table.gpus
    ]
    return "\n".join(lines).rstrip() + "\n"


def _profile_row(profile: Profile) -> str:
    cost, capacity = CostModel.from_profile(profile), profile.kv_capacity_tokens()
    return (
        f"| `{profile.name}` | {format_bytes(profile.gpu_memory_bytes)} | {format_count(capacity)} "
        f"| {format_seconds(cost.decode_pass_s(1, 0))} "
        f"| {format_seconds(cost.decode_pass_s(1, capacity))} "
        f"| {profile.h2d.bytes_per_s[-1] / 1e9:.2f} | {profile.provenance.method} |"
    )


def _provenance(profile: Profile) -> Iterator[str]:
    origin, decode = profile.provenance, profile.pass_times.line(1)
    yield f"{origin.device}; {profile.model.name}; {origin.method}, {origin.date}."
    yield f"Software: {origin.software}. Source: {origin.source}."
    yield (
        f"Decode pass: {decode.base_s * 1e3:g} ms + {decode.token_s * 1e6:g} µs per token of "
        f"context; {profile.model.layers} layers, "
        f"{format_count(profile.model.kv_bytes_per_token)} bytes of KV per token."
    )


def metrics_page() -> str:
    """The text of docs/reference/metrics.md."""
    lines = [
        "# Figures",
        "",
        "How each figure is computed, and where it is in `summary.json` (what each key means: "
        "[formats](../formats.md#summaryjson-schema_version-1)). "
        "`study` and `--target` name them by the key below.",
        "",
        "## Formulas",
        "",
        "From `orbitflow/results/metrics.py`; g_1..g_n are a request's token times, tau its limit "
        "on time between tokens, d_1..d_n the deliveries at the SLO's pace.",
        "",
        "| function | what it is |",
        "|---|---|",
        *(f"| `{name}` | {text} |" for name, text in _formulas()),
        "",
        "## Keys of a policy",
        "",
        "| key | in the table | better |",
        "|---|---|---|",
    ]
    shown = labels()
    always = list(_keys(Totals(layers=1).to_json({})))
    planners = [key for key in (*DIRECTIONS, *NO_DIRECTION) if key not in always]
    for key in (*always, *planners):
        way = DIRECTIONS.get(key)
        better = {None: "", "max": "larger", "min": "smaller"}[way and way.value]
        lines.append(f"| `{key}` | {shown.get(key, '')} | {better} |")
    lines += ["", f"Only of policies that plan: {', '.join(f'`{key}`' for key in planners)}."]
    return "\n".join(lines).rstrip() + "\n"


def _formulas() -> Iterator[tuple[str, str]]:
    for name, member in vars(metrics).items():
        if inspect.isfunction(member) and member.__module__ == metrics.__name__:
            yield name, " ".join((inspect.getdoc(member) or "").split())


def _keys(figures: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in figures.items():
        if isinstance(value, Mapping) and value:
            yield from _keys(value, f"{above}{key}.")
        else:
            yield above + key


PAGES: Mapping[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "policies.md": policies_page,
    "profiles.md": profiles_page,
    "metrics.md": metrics_page,
}


def page(name: str) -> str:
    """The text of one page as the code has it now."""
    return MADE + PAGES[name]()


def main() -> None:
    """Write every page, or say which are stale."""
    is_check = "--check" in sys.argv[1:]
    stale = []
    for name in PAGES:
        path, text = FOLDER / name, page(name)
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not is_check:
            path.write_text(text, encoding="utf-8")
    print(f"{'stale' if is_check else 'written'}: {', '.join(stale) or 'none'}")
    raise SystemExit(bool(stale) and is_check)


if __name__ == "__main__":
    main()
