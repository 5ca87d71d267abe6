"""The profiles that come with OrbitFlow, by name: published fits and datasheet rooflines.

A fit of the paper gives decode = token · Σ context + base and, from its transfer line's slope,
link bandwidth = KV bytes per token / slope (arXiv 2601.10729 and the code published with it).
`<gpu>-roofline` and `<gpu>x<n>-roofline` take any model; a fitted profile takes only its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache

from orbitflow.codec import Count, Positive, Signed, decode, read_json
from orbitflow.errors import ProfileError, nearest
from orbitflow.machine.hardware import (
    ANY_RUN_BYTES,
    ASSUMED_HOST,
    ASSUMED_PREFILL,
    ASSUMED_REST,
    GpuNode,
    find_gpu,
    hardware_table,
    roofline,
)
from orbitflow.machine.line_passes import DecodeFit
from orbitflow.machine.model import model_from_config
from orbitflow.machine.profile import (
    PLANNER_LATENCY_S,
    FitError,
    LinkFit,
    Profile,
    Provenance,
    load,
)
from orbitflow.units import GIB

DEFAULT_PROFILE = "a5000-llama3-8b-paper"
DEFAULT_MODEL = "llama-3-8b"
MOST_GPUS = 64
_ROOFLINE = "-roofline"


@dataclass(frozen=True, slots=True)
class PublishedLine:
    """Seconds of a pass over x tokens: base + token · x."""

    base_s: Positive
    token_s: Positive
    r2: Signed


@dataclass(frozen=True, slots=True)
class PublishedFit:
    """A machine of the paper. `transfer` moves x tokens' KV; `gpu` is its row in the table."""

    name: str
    device: str
    gpu: str
    gpus: Count
    model: str
    gpu_memory_gib: Positive
    host_memory_gib: Positive | None
    link: str
    page_tokens: Count
    decode: PublishedLine
    transfer: PublishedLine
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PublishedFits:
    """All of data/paper_constants.json."""

    source: str
    date: str
    software: str
    fits: tuple[PublishedFit, ...]


def profile_names() -> list[str]:
    """List the built-in profiles, the paper's first."""
    rooflines = [gpu.name + _ROOFLINE for gpu in hardware_table().gpus]
    return [fit.name for fit in _published().fits] + rooflines


def resolve_profile(name_or_path: str, model: str | None = None, tp: int | None = None) -> Profile:
    """Find a built-in profile or read a profile file, for `model` (a preset or a config.json) on
    `tp` GPUs. The name of a GPU stands for what there is of it, see `profile_of_gpu`.

    >>> round(resolve_profile("a5000-llama3-8b-paper").h2d.bytes_per_s[0] / 1e9, 2)
    7.62

    Raise a ProfileError if there is no such profile, or if it was fitted to another model or to
    another number of GPUs.
    """
    name_or_path = profile_of_gpu(name_or_path, model, tp) or name_or_path
    if machine := _roofline_machine(name_or_path):
        name, machine = _shared(name_or_path, machine, tp)
        return roofline(name, machine, model_from_config(model or DEFAULT_MODEL))
    fits = {fit.name: fit for fit in _published().fits}
    if name_or_path in fits:
        profile = _published_profile(fits[name_or_path])
    elif os.path.exists(name_or_path):
        profile = load(name_or_path)
    else:
        gpus = [gpu.name for gpu in hardware_table().gpus]
        raise ProfileError(
            f"no profile {name_or_path!r}, neither built in nor a file nor a GPU: "
            f"{nearest(name_or_path, [*profile_names(), *gpus])}"
        )
    if model is not None:
        _require_model(profile, model)
    if tp is not None and tp != profile.gpus:
        raise ProfileError(
            f"--tp {tp}: profile {profile.name} is of {profile.gpus} GPU{'s'[: profile.gpus > 1]} "
            "and cannot be split anew: leave --tp out, or use a roofline profile (such as "
            "a5000-roofline)"
        )
    return profile


def profile_of_gpu(name: str, model: str | None = None, tp: int | None = None) -> str | None:
    """The profile that the name of a GPU stands for, None if it is not the name of one.

    What was measured comes first: `NAME.json` in the working folder, then a published fit for this
    model and number of GPUs, then the roofline.

    >>> profile_of_gpu("h100"), profile_of_gpu("a5000"), profile_of_gpu("a5000-roofline")
    ('h100-roofline', 'a5000-llama3-8b-paper', None)

    Raise a ProfileError if several GPUs go by that name.
    """
    wanted = name.lower()
    if os.path.exists(name) or wanted in profile_names() or _roofline_machine(wanted):
        return None
    machine = _roofline_machine(wanted + _ROOFLINE)
    if machine is None:
        gpus = [gpu.name for gpu in hardware_table().gpus if gpu.name.startswith(f"{wanted}-")]
        if gpus:
            raise ProfileError(f"--profile {name} is several GPUs: write {' or '.join(gpus)}")
        return None
    if os.path.isfile(f"{name}.json"):
        return f"{name}.json"
    shape, count = model_from_config(model or DEFAULT_MODEL), tp or machine.gpus
    fits = (f for f in _published().fits if (f.gpu, f.gpus) == (machine.gpu.name, count))
    same = (fit.name for fit in fits if model_from_config(fit.model).same_shape(shape))
    return next(same, wanted + _ROOFLINE)


def _shared(name: str, machine: GpuNode, tp: int | None) -> tuple[str, GpuNode]:
    """A roofline's machine with `tp` GPUs, and its name then."""
    if tp is None or tp == machine.gpus:
        return name, machine
    if machine.gpus > 1:
        raise ProfileError(f"--tp {tp}: {name} is of {machine.gpus} GPUs: leave one of them out")
    if tp > MOST_GPUS:
        raise ProfileError(f"--tp {tp}: take 1 to {MOST_GPUS} GPUs")
    return f"{machine.gpu.name}x{tp}{_ROOFLINE}", GpuNode(machine.gpu, tp)


@cache
def _published() -> PublishedFits:
    path = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "paper_constants.json")
    return decode(PublishedFits, read_json(path))


def _roofline_machine(name: str) -> GpuNode | None:
    """Read `a100-80gb-roofline` or `a100-80gbx4-roofline`; None if the name is not of that form."""
    if not name.endswith(_ROOFLINE):
        return None
    wanted = name.removesuffix(_ROOFLINE)
    known = {gpu.name for gpu in hardware_table().gpus}
    gpu, _, count = wanted.rpartition("x")
    if wanted in known:
        return GpuNode(find_gpu(wanted))
    if gpu not in known or not (count.isascii() and count.isdigit()):
        return None
    if not 1 <= int(count[:9]) <= MOST_GPUS:
        raise ProfileError(f"{name} asks for {count} GPUs: take 1 to {MOST_GPUS}")
    return GpuNode(find_gpu(gpu), int(count))


def _require_model(profile: Profile, model: str) -> None:
    wanted = model_from_config(model)
    if not wanted.same_shape(profile.model):
        raise ProfileError(
            f"profile {profile.name} was fitted to {profile.model.name}, not to {wanted.name}: "
            "use a roofline profile (such as a5000-roofline) or leave the model out"
        )


def _published_profile(fit: PublishedFit) -> Profile:
    model = model_from_config(fit.model)
    machine = GpuNode(find_gpu(fit.gpu), fit.gpus)
    link = LinkFit(0.0, ANY_RUN_BYTES, (model.kv_bytes_per_token / fit.transfer.token_s,))
    return Profile(
        name=fit.name,
        model=model,
        gpu_memory_bytes=round(fit.gpu_memory_gib * GIB),
        gpus=fit.gpus,
        weight_bytes=model.weight_bytes,
        page_tokens=fit.page_tokens,
        decode=DecodeFit(fit.decode.base_s, 0.0, fit.decode.token_s, 0.0),
        prefill=machine.prefill_fit(model),
        h2d=link,
        d2h=link,
        link_slowdown=0.0,
        host=ASSUMED_HOST,
        planner_latency_s=PLANNER_LATENCY_S,
        host_memory_bytes=round(fit.host_memory_gib * GIB) if fit.host_memory_gib else None,
        provenance=_provenance(fit),
        errors=(
            FitError("decode", 0, 0, fit.decode.r2, None, None),
            FitError("h2d", 0, 0, fit.transfer.r2, None, None),
        ),
        simplified=(
            "decode: fitted to single requests; more requests cost nothing but their tokens",
            "decode: nothing lies outside the layers",
            ASSUMED_PREFILL,
            "h2d: KV bytes per token / slope of the transfer line, its intercept unused",
            *fit.notes,
            *ASSUMED_REST,
        ),
    )


def _provenance(fit: PublishedFit) -> Provenance:
    published = _published()
    return Provenance(
        device=f"{fit.gpus} x {fit.device}, {fit.link}",
        model=fit.model,
        date=published.date,
        software=published.software,
        method="published line fits",
        source=published.source,
    )
