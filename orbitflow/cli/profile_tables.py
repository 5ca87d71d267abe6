"""Profiles for people: a row each, one with its provenance, two with every coefficient's ratio."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orbitflow.cli.profile_curves import coefficients, coefficients_of
from orbitflow.codec import encode
from orbitflow.errors import ProfileError
from orbitflow.machine.cost import CostModel
from orbitflow.machine.profile import Profile, is_edited
from orbitflow.units import format_bytes, format_count, format_seconds

PROMPT_TOKENS = 2048
_LIST_WIDTH, _DIFF_WIDTH, _PIPE_WIDTH = 124, 100, 160


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """One profile in a line. The full pass is one request that fills the KV capacity."""

    name: str
    model: str
    gpu_memory_bytes: int
    kv_capacity_tokens: int
    decode_empty_s: float
    decode_full_s: float
    prefill_tokens_per_s: float
    link_bytes_per_s: float
    obtained: str


def summarise(profile: Profile) -> ProfileRow:
    """Work out a profile's row. Raise a ProfileError if its model does not fit."""
    cost, capacity = CostModel.from_profile(profile), profile.kv_capacity_tokens()
    return ProfileRow(
        name=profile.name,
        model=profile.model.name,
        gpu_memory_bytes=profile.gpu_memory_bytes,
        kv_capacity_tokens=capacity,
        decode_empty_s=cost.decode_pass_s(1, 0),
        decode_full_s=cost.decode_pass_s(1, capacity),
        prefill_tokens_per_s=PROMPT_TOKENS / cost.prefill_s(PROMPT_TOKENS),
        link_bytes_per_s=profile.h2d.bytes_per_s[-1],
        obtained=profile.provenance.method,
    )


def rows_as_json(rows: Sequence[ProfileRow]) -> str:
    """Write rows as JSON, in bytes, tokens and seconds."""
    return json.dumps({"schema_version": 1, "profiles": [encode(row) for row in rows]}, indent=2)


def print_rows(rows: Sequence[ProfileRow]) -> None:
    """Print one line for each profile."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, caption_justify="left")
    table.caption = (
        "Passes: one decode pass with empty and with full KV. "
        f"Prefill: a prompt of {PROMPT_TOKENS:,} tokens. Rooflines take any --model."
    )
    table.add_column("profile", no_wrap=True)
    table.add_column("model", no_wrap=True)
    for title in ("GPU\nmemory", "KV\ntokens", "pass\nempty", "pass\nfull", "prefill\ntok/s"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("link\nGB/s", justify="right", no_wrap=True)
    table.add_column("obtained by")
    for row in rows:
        table.add_row(
            row.name,
            row.model,
            format_bytes(row.gpu_memory_bytes),
            format_count(row.kv_capacity_tokens),
            format_seconds(row.decode_empty_s),
            format_seconds(row.decode_full_s),
            format_count(row.prefill_tokens_per_s),
            f"{row.link_bytes_per_s / 1e9:.2f}",
            row.obtained,
        )
    _console(_LIST_WIDTH).print(table)


def print_profile(profile: Profile) -> None:
    """Print all that a profile says."""
    table = Table(
        title=Text(profile.name, "bold"), title_justify="left", box=None, show_header=False
    )
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in _lines(profile):
        table.add_row(label, Text(text))
    _console().print(table)


def _lines(profile: Profile) -> Iterator[tuple[str, str]]:
    yield from _model_lines(profile)
    yield from _memory_lines(profile)
    yield from _time_lines(profile)
    origin = profile.provenance
    yield "device", origin.device
    yield "obtained by", f"{origin.method}, {origin.date}"
    yield "software", origin.software
    yield "model served", origin.model
    yield "source", origin.source
    if profile.digest is not None:
        yield "measured", "edited since" if is_edited(profile) else "unchanged since"
    yield from (_after_first("fit errors", list(_error_lines(profile)) or ["none: nothing fitted"]))
    yield from (_after_first("assumed", profile.simplified or ("nothing",)))


def _model_lines(profile: Profile) -> Iterator[tuple[str, str]]:
    model = profile.model
    longest = model.max_context_tokens
    yield "model", f"{model.name}, {model.parameters / 1e9:.2f} billion parameters"
    yield (
        "shape",
        f"{model.layers} layers, hidden {model.hidden_size}, {model.heads} heads, "
        f"{model.kv_heads} KV heads of {model.head_dim}, MLP {model.intermediate_size}, "
        f"vocabulary {model.vocab_size}, {model.dtype_bytes} bytes a number",
    )
    copies = model.kv_copies(profile.gpus)
    repeated = f", {copies} copies of each KV head on {profile.gpus} GPUs" if copies > 1 else ""
    kv_bytes = format_count(model.kv_bytes_per_token * copies)
    yield "KV per token", f"{kv_bytes} bytes in all layers{repeated}"
    yield "longest context", f"{format_count(longest)} tokens" if longest else "not stated"


def _memory_lines(profile: Profile) -> Iterator[tuple[str, str]]:
    try:
        capacity = format_count(profile.kv_capacity_tokens())
        capacity += f" tokens in pages of {profile.page_tokens}"
    except ProfileError as refusal:
        capacity = f"none: {refusal}"
    gpus = f" on {profile.gpus} GPUs together" if profile.gpus > 1 else ""
    host = profile.host_memory_bytes
    yield "GPU memory", format_bytes(profile.gpu_memory_bytes) + gpus
    yield "weights", format_bytes(profile.weight_bytes)
    yield "KV capacity", capacity
    yield "host memory", format_bytes(host) if host else "not stated"


_LABELS = {
    "decode": "decode pass",
    "passes": "a pass",
    "h2d": "host to GPU",
    "d2h": "GPU to host",
}


def _time_lines(profile: Profile) -> Iterator[tuple[str, str]]:
    for curve, text in coefficients(profile):
        yield _LABELS.get(curve, curve), text
    yield "CPU on host KV", _host_line(profile)
    yield "planner", f"{format_seconds(profile.planner_latency_s)} a plan"


def _host_line(profile: Profile) -> str:
    host = profile.host
    if host is None:
        return "not measured"
    attention, gather = host.attention_bytes_per_s / 1e9, host.gather_bytes_per_s / 1e9
    return f"attention {attention:.1f} GB/s, gather {gather:.1f} GB/s"


def _error_lines(profile: Profile) -> Iterator[str]:
    for error in profile.errors:
        known = [f"R² {error.r2:.4g}"] if error.r2 is not None else []
        if error.median_relative_error is not None:
            known.append(f"median {error.median_relative_error:.1%}")
        if error.worst_relative_error is not None:
            known.append(f"worst {error.worst_relative_error:.1%}")
        points = f"{error.points} points, {error.held_out_points} held out"
        known.append(points if error.points else "number of points not published")
        yield f"{error.curve}: {', '.join(known)}"


def _after_first(label: str, texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Put the label beside the first text only."""
    yield from ((label if i == 0 else "", text) for i, text in enumerate(texts))


def _console(least_width: int = 0) -> Console:
    console = Console()
    console.width = max(least_width, console.width if console.is_terminal else _PIPE_WIDTH)
    return console


def print_diff(first: Profile, second: Profile) -> None:
    """Print both with ratios."""
    table = Table("", box=SIMPLE_HEAD, pad_edge=False)
    table.columns[0].style, table.columns[0].no_wrap = "cyan", True
    for title in (first.name, second.name, "ratio"):
        table.add_column(Text(title), justify="right")
    for a, b in zip(coefficients_of(first), coefficients_of(second), strict=True):
        table.add_row(a.name, a.shown, b.shown, _ratio(a.value, b.value))
    console = _console(_DIFF_WIDTH)
    console.print(table)
    if not first.model.same_shape(second.model):
        console.print(
            Text(f"different models: {first.model.name} and {second.model.name}", style="yellow")
        )


def diff_as_json(first: Profile, second: Profile) -> str:
    """Write both as JSON, in seconds, bytes and tokens; None where a profile does not say."""
    rows = [
        {"name": a.name, "first": a.value, "second": b.value}
        for a, b in zip(coefficients_of(first), coefficients_of(second), strict=True)
    ]
    document = {"first": first.name, "second": second.name, "coefficients": rows}
    return json.dumps({"schema_version": 1, **document}, indent=2)


def _ratio(first: float | None, second: float | None) -> str:
    return f"{second / first:.3g}" if first and second is not None else ""
