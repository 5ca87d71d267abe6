"""Two profiles side by side: every coefficient, and the second's as a multiple of the first's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orbitflow.errors import ProfileError
from orbitflow.machine.cost import CostModel
from orbitflow.machine.profile import LinkFit, Profile
from orbitflow.units import format_bytes, format_count, format_seconds

_LEAST_WIDTH = 100


class Coefficient(NamedTuple):
    """A number of a profile; `shown` is for people. None where the profile does not say."""

    name: str
    value: float | None
    shown: str


def coefficients_of(profile: Profile) -> Iterator[Coefficient]:
    """All numbers that times and memory come from, in a fixed order."""
    decode, prefill, host = profile.decode, profile.prefill, profile.host
    cost = CostModel.from_profile(profile)
    yield _seconds("decode: pass", decode.base_s)
    yield _seconds("decode: a request", decode.request_s)
    yield _seconds("decode: 1,000 tokens of context", 1000 * decode.token_s)
    yield _seconds("decode: outside the layers", decode.outside_s)
    yield _seconds("prefill: prompt", prefill.base_s)
    yield _seconds("prefill: 1,000 tokens", 1000 * prefill.token_s)
    yield _seconds("prefill: a million token pairs", 1e6 * prefill.pair_s)
    for tokens in (128, 1024, 8192):
        yield _seconds(f"prefill: a prompt of {tokens:,} tokens", cost.prefill_s(tokens))
    for name, link in (("h2d", profile.h2d), ("d2h", profile.d2h)):
        yield from _link(name, link)
    yield Coefficient(
        "busy link slows compute by", profile.link_slowdown, f"{profile.link_slowdown:.1%}"
    )
    yield _rate("host: attention", host.attention_bytes_per_s if host else None)
    yield _rate("host: gathers", host.gather_bytes_per_s if host else None)
    yield _seconds("planner: a plan", profile.planner_latency_s)
    yield _capacity(profile)
    yield Coefficient("weights", profile.weight_bytes, format_bytes(profile.weight_bytes))
    yield Coefficient("tokens per page", profile.page_tokens, str(profile.page_tokens))


def print_diff(first: Profile, second: Profile) -> None:
    """Print both with ratios."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", style="cyan", no_wrap=True)
    for title in (first.name, second.name, "ratio"):
        table.add_column(Text(title), justify="right")
    for a, b in zip(coefficients_of(first), coefficients_of(second), strict=True):
        table.add_row(a.name, a.shown, b.shown, _ratio(a.value, b.value))
    console = Console()
    console.width = max(_LEAST_WIDTH, console.width)
    console.print(table)
    if not first.model.same_shape(second.model):
        console.print(
            Text(f"different models: {first.model.name} and {second.model.name}", style="yellow")
        )


def _ratio(first: float | None, second: float | None) -> str:
    return f"{second / first:.3g}" if first and second is not None else ""


def _link(name: str, link: LinkFit) -> Iterator[Coefficient]:
    yield _seconds(f"{name}: a run", link.latency_s)
    yield _rate(f"{name}: largest runs", link.bytes_per_s[-1])


def _seconds(name: str, value: float) -> Coefficient:
    return Coefficient(name, value, format_seconds(value))


def _rate(name: str, value: float | None) -> Coefficient:
    return Coefficient(name, value, "not measured" if value is None else f"{value / 1e9:.3g} GB/s")


def _capacity(profile: Profile) -> Coefficient:
    name = "KV capacity in tokens"
    try:
        tokens = profile.kv_capacity_tokens()
    except ProfileError:
        return Coefficient(name, None, "none")
    return Coefficient(name, tokens, format_count(tokens))
