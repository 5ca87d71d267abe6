"""The curves of a profile in words, and its coefficients as numbers to be compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from orbitflow.errors import ProfileError
from orbitflow.machine.cost import CostModel
from orbitflow.machine.line_passes import LinePasses, PrefillFit
from orbitflow.machine.pass_fit import PassTimes
from orbitflow.machine.profile import LinkFit, Profile
from orbitflow.units import format_bytes, format_count, format_seconds


def coefficients(profile: Profile) -> Iterator[tuple[str, str]]:
    """Each curve of a profile, by the name that its error goes by, and its fit in words."""
    yield from _curves(profile.pass_times)
    yield "h2d", _link_line(profile.h2d)
    yield "d2h", _link_line(profile.d2h)
    yield "busy link", f"slows compute by {profile.link_slowdown:.1%}"


def _curves(passes: PassTimes) -> Iterator[tuple[str, str]]:
    if isinstance(passes, LinePasses):
        decode, prefill = passes.decode, passes.prefill
        yield (
            "decode",
            f"{format_seconds(decode.base_s)} "
            f"({format_seconds(decode.outside_s)} outside the layers)"
            f" + {format_seconds(decode.request_s)} a request"
            f" + {format_seconds(decode.token_s * 1000)} per 1,000 tokens of context",
        )
        yield (
            "prefill",
            f"{format_seconds(prefill.base_s)} + {format_seconds(prefill.token_s)} a token"
            f" + {format_seconds(prefill.pair_s * 1e6)} per million token pairs{_bend(prefill)}",
        )
        return
    at = zip(passes.tokens, passes.token_s, strict=True)
    knots = ", ".join(f"{format_seconds(seconds)} at {tokens:,.0f}" for tokens, seconds in at)
    yield (
        "passes",
        f"{format_seconds(passes.host_s)} of the server"
        f" + {format_seconds(passes.chunk_host_s)} with chunks"
        f" + {format_seconds(passes.request_s)} a request"
        f" + {format_seconds(passes.context_s * 1000)} per 1,000 tokens of context"
        f" (times {1 + passes.beside_chunks:.2f} beside chunks)"
        f" + {format_seconds(passes.pair_s * 1e6)} per million token pairs"
        f" + by all tokens of the pass: {knots}",
    )


def _link_line(link: LinkFit) -> str:
    rates = [f"{rate / 1e9:.2f} GB/s" for rate in link.bytes_per_s]
    if len(rates) > 1:
        runs = map(format_bytes, link.run_bytes)
        rates = [f"{rate} at {run}" for rate, run in zip(rates, runs, strict=True)]
    return f"{', '.join(rates)}; {format_seconds(link.latency_s)} a run"


def _bend(prefill: PrefillFit) -> str:
    """Its factors, where it has any."""
    if prefill.bend is None:
        return ""
    at = zip(prefill.bend.tokens, prefill.bend.factors, strict=True)
    return ", times " + ", ".join(f"{factor:.2f} at {tokens:.0f}" for tokens, factor in at)


class Coefficient(NamedTuple):
    """A number of a profile; `shown` is for people. None where the profile does not say."""

    name: str
    value: float | None
    shown: str


def coefficients_of(profile: Profile) -> Iterator[Coefficient]:
    """All numbers that times and memory come from, in a fixed order."""
    cost, host = CostModel.from_profile(profile), profile.host
    yield from _of_passes(profile.pass_times)
    for tokens in (128, 1024, 8192):
        yield _seconds(f"prefill: a prompt of {tokens:,} tokens", cost.prefill_s(tokens))
    for name, link in (("h2d", profile.h2d), ("d2h", profile.d2h)):
        yield _seconds(f"{name}: a run", link.latency_s)
        yield _rate(f"{name}: largest runs", link.bytes_per_s[-1])
    yield Coefficient(
        "busy link slows compute by", profile.link_slowdown, f"{profile.link_slowdown:.1%}"
    )
    yield _rate("host: attention", host.attention_bytes_per_s if host else None)
    yield _rate("host: gathers", host.gather_bytes_per_s if host else None)
    yield _seconds("planner: a plan", profile.planner_latency_s)
    yield _capacity(profile)
    yield Coefficient("weights", profile.weight_bytes, format_bytes(profile.weight_bytes))
    yield Coefficient("tokens per page", profile.page_tokens, str(profile.page_tokens))


def _of_passes(passes: PassTimes) -> Iterator[Coefficient]:
    decode = passes.line(1)
    yield _seconds("decode: pass", decode.base_s)
    yield _seconds("decode: a request", decode.request_s)
    yield _seconds("decode: 1,000 tokens of context", 1000 * decode.token_s)
    yield _seconds("decode: outside the layers", decode.outside_s)
    if isinstance(passes, LinePasses):
        prefill = passes.prefill
        base_s, token_s, pair_s = prefill.base_s, prefill.token_s, prefill.pair_s
    else:
        base_s, pair_s = passes.host_s + passes.chunk_host_s + passes.token_s[0], passes.pair_s
        token_s = passes.tokens_s(2000) / 1000 - passes.tokens_s(1000) / 1000
    yield _seconds("prefill: prompt", base_s)
    yield _seconds("prefill: 1,000 tokens", 1000 * token_s)
    yield _seconds("prefill: a million token pairs", 1e6 * pair_s)


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
