"""What one machine does with one model: the single source of every time in planner and simulator.

    a pass                        by `orbitflow.machine.line_passes` or `pass_fit`
    a copy                        latency · runs + bytes / bandwidth(run size)
    KV capacity                   (0.9 · GPU memory − weights − 1 GiB) / KV bytes of a token

Stored as versioned JSON with its provenance, the error of every fit and all that was only assumed;
one that was measured also has the KV capacity that was there, every point and a digest, the sha256
of the profile without it (sorted keys, no blanks). An edited profile works as any other, and
output that shows it says so. Beyond the largest batch and context that were measured, lines are
extrapolated, and that is said.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

from orbitflow.codec import Count, Positive, Signed, decode, encode, read_json, write_text
from orbitflow.errors import ProfileError
from orbitflow.machine import ranges
from orbitflow.machine.line_passes import DecodeFit, LinePasses, PrefillFit
from orbitflow.machine.model import ModelSpec
from orbitflow.machine.pass_fit import PassFit, PassTimes
from orbitflow.units import GIB, format_bytes

SCHEMA_VERSION = 3
_NEW_IN_2: dict[str, object] = {
    "measured_kv_tokens": None,
    "points": [],
    "digest": None,
    "pass_noise": 0.0,
}
_NEW_IN_3: dict[str, object] = {"passes": None}
USABLE_SHARE = 0.9
WORKSPACE_BYTES = GIB
PLANNER_LATENCY_S = 0.005


@dataclass(frozen=True, slots=True)
class LinkFit:
    """One direction of the link. Bandwidth is linear between the run sizes, constant outside."""

    latency_s: ranges.Time
    run_bytes: tuple[Positive, ...]
    bytes_per_s: tuple[ranges.Rate, ...]

    def __post_init__(self) -> None:
        if not self.run_bytes or len(self.run_bytes) != len(self.bytes_per_s):
            raise ValueError("run_bytes and bytes_per_s must have one or more points, equally many")
        if any(after <= before for before, after in pairwise(self.run_bytes)):
            raise ValueError(f"run_bytes {list(self.run_bytes)} must rise: sort the points")


@dataclass(frozen=True, slots=True)
class HostFit:
    """What the CPU does with KV in host memory: attend to it, or gather scattered rows of it."""

    attention_bytes_per_s: ranges.Rate
    gather_bytes_per_s: ranges.Rate


@dataclass(frozen=True, slots=True)
class FitError:
    """How well a curve fits its held-out points; None, and 0 points, where that is not known."""

    curve: str
    points: int
    held_out_points: int
    r2: Signed | None
    median_relative_error: float | None
    worst_relative_error: float | None


@dataclass(frozen=True, slots=True)
class MeasuredPoint:
    """One measurement of a curve, the median of its repeats, and what the fit makes of it.

    `varied`: decode (requests, context tokens), prefill (tokens, tokens behind them), h2d and d2h
    (bytes of a run). `relative_spread`: median distance of the repeats from their median.
    """

    curve: str
    varied: tuple[float, ...]
    measured_s: float
    fitted_s: float
    relative_spread: float
    repeats: Count
    held_out: bool


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the numbers come from."""

    device: str
    model: str
    date: str
    software: str
    method: str
    source: str


@dataclass(frozen=True, slots=True)
class Profile:
    """A machine with a model on it. Memory and weights are those of all its GPUs together.

    Passes follow two lines, `decode` and `prefill`, or one fit of all of them, `passes`.
    `pass_noise`: compute of single passes lies evenly within 1 ± this of what the lines say.
    `digest` is of what was measured; None where nothing was.
    """

    name: str
    model: ModelSpec
    gpu_memory_bytes: Count
    gpus: ranges.Gpus
    weight_bytes: Count
    page_tokens: ranges.Pages
    decode: DecodeFit | None
    prefill: PrefillFit | None
    h2d: LinkFit
    d2h: LinkFit
    link_slowdown: ranges.Share
    host: HostFit | None
    planner_latency_s: ranges.Time
    host_memory_bytes: Count | None
    provenance: Provenance
    errors: tuple[FitError, ...]
    simplified: tuple[str, ...]
    measured_kv_tokens: ranges.CacheTokens | None = None
    points: tuple[MeasuredPoint, ...] = ()
    digest: str | None = None
    pass_noise: ranges.Noise = 0.0
    passes: PassFit | None = None

    def __post_init__(self) -> None:
        lines = (self.decode is not None, self.prefill is not None)
        if lines != (self.passes is None,) * 2:
            raise ValueError(
                "passes must stand alone, or decode and prefill without it: one form, and whole"
            )

    @property
    def pass_times(self) -> PassTimes:
        """How long passes take."""
        if self.passes is not None:
            return self.passes
        assert self.decode is not None, "checked when it was made"
        assert self.prefill is not None, "checked when it was made"
        return LinePasses(self.decode, self.prefill)

    def kv_capacity_tokens(self, gpu_memory_bytes: int | None = None) -> int:
        """Count the tokens whose KV fits beside the weights, in whole pages: as measured, else from
        memory.

        `gpu_memory_bytes` stands in for both. Raise a ProfileError if not a page fits.
        """
        if gpu_memory_bytes is None and self.measured_kv_tokens is not None:
            return self.measured_kv_tokens
        memory = self.gpu_memory_bytes if gpu_memory_bytes is None else gpu_memory_bytes
        free = USABLE_SHARE * memory - self.weight_bytes - WORKSPACE_BYTES
        token_bytes = self.model.kv_bytes_per_token * self.model.kv_copies(self.gpus)
        pages = int(free // (self.page_tokens * token_bytes))
        if pages <= 0:
            raise ProfileError(
                f"{format_bytes(self.weight_bytes)} of {self.model.name} weights leave no room for "
                f"KV in {format_bytes(memory)} of GPU memory (90 % of it less 1 GiB is usable): "
                "take more GPU memory, more GPUs or a smaller model"
            )
        return pages * self.page_tokens


def to_json(profile: Profile) -> str:
    """Write a profile as the text of its file, of version 2 where that can say it. Raise a
    ProfileError if `load` would refuse it.
    """
    document = encode(profile)
    decode(Profile, document)
    version = SCHEMA_VERSION if _drop_news(document) else 2
    return json.dumps({"schema_version": version, **document}, indent=2) + "\n"


def _drop_news(document: dict[str, Any]) -> bool:
    """Leave out what is new in version 3, if all of it is null; say whether something is not."""
    places = ((document, "passes"), (document["model"], "layer_vector_parameters"))
    has_news = any(place[key] is not None for place, key in places)
    for place, key in places if not has_news else ():
        del place[key]
    return has_news


def save(profile: Profile, path: str | os.PathLike[str]) -> None:
    """Write a profile file, whole or not at all."""
    write_text(path, to_json(profile))


def load(path: str | os.PathLike[str]) -> Profile:
    """Read a profile file. Raise a ProfileError that names file and key if anything is wrong."""
    document = read_json(path)
    try:
        return decode(Profile, _checked_version(document))
    except ProfileError as refusal:
        raise ProfileError(f"{os.fspath(path)}: {refusal}") from None


def _checked_version(document: object) -> object:
    if not isinstance(document, dict):
        raise ProfileError("a profile must be a JSON object: start from `profile show NAME --json`")
    version = document.get("schema_version")
    if type(version) is not int or version < 1:
        raise ProfileError(f"schema_version is {version!r}: it must be 1 to {SCHEMA_VERSION}")
    if version > SCHEMA_VERSION:
        raise ProfileError(
            f"schema_version is {version}, newer than {SCHEMA_VERSION}: upgrade orbitflow"
        )
    fields = {key: value for key, value in document.items() if key != "schema_version"}
    if version < 3:
        fields = {**_NEW_IN_3, **fields}
        if isinstance(fields.get("model"), dict):
            fields["model"] = {"layer_vector_parameters": None, **fields["model"]}
    if version == 1:
        fields = {**_NEW_IN_2, **fields}
        if isinstance(fields.get("prefill"), dict):
            fields["prefill"] = {"bend": None, **fields["prefill"]}
    return fields


def sealed(profile: Profile) -> Profile:
    """The profile with the digest of what it says now."""
    return replace(profile, digest=_digest(profile))


def is_edited(profile: Profile) -> bool:
    """Whether a measured profile was changed since; never true of what was not measured."""
    return profile.digest is not None and profile.digest != _digest(profile)


def _digest(profile: Profile) -> str:
    document = encode(replace(profile, digest=None))
    _drop_news(document)  # as in version 2, whose digests still hold
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


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
