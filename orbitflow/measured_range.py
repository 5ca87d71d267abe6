"""How far a profile's measurements reach; beyond, its lines are extrapolated, and that is said.

    batch       at most the largest decode batch that was measured
    context     KV of a batch at most what was measured, and prompts likewise

A profile without points (a data sheet, a published fit) claims no range.
"""

from __future__ import annotations

from typing import NamedTuple

from orbitflow.machine.profile import Profile

_SLACK = 1.25  # a little further than the last point, a line still holds


class MeasuredRange(NamedTuple):
    """The largest of everything that was measured, in requests and tokens."""

    requests: int
    context_tokens: int
    prompt_tokens: int


def measured_range(profile: Profile) -> MeasuredRange | None:
    """The range of a profile's points; None if it has none."""
    decode = [point.varied for point in profile.points if point.curve == "decode"]
    prefill = [point.varied for point in profile.points if point.curve == "prefill"]
    if not decode or not prefill:
        return None
    return MeasuredRange(
        int(max(varied[0] for varied in decode)),
        int(max(varied[1] for varied in decode)),
        int(max(sum(varied) for varied in prefill)),
    )


def extrapolated(
    profile: Profile, max_batch: int | None, capacity_tokens: int, longest_prompt: int
) -> list[str]:
    """Say what lies beyond a profile's points."""
    known = measured_range(profile)
    if known is None:
        return []
    said = []
    if max_batch is None or max_batch > known.requests * _SLACK:
        most = "any number of" if max_batch is None else f"up to {max_batch}"
        said.append(f"batches of {most} requests (measured: {known.requests})")
    if capacity_tokens > known.context_tokens * _SLACK:
        said.append(f"{capacity_tokens:,} tokens of KV (measured: {known.context_tokens:,})")
    if longest_prompt > known.prompt_tokens * _SLACK:
        said.append(f"prompts of {longest_prompt:,} tokens (measured: {known.prompt_tokens:,})")
    if not said:
        return []
    return [f"{profile.name} is extrapolated to {', '.join(said)}: calibrate with more"]
