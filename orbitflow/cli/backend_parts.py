"""What `run`, `generate` and `calibrate` need before they can begin: a device, a model on it, and
the profile that policies plan with. Everything that can be refused is refused here, in one line.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from orbitflow.backend.machine import BackendMachine, find_machine
from orbitflow.backend.model.checkpoint import LoadedModel, load_model
from orbitflow.backend.model.decoder import Decoder
from orbitflow.calibrate.calibration import calibrate
from orbitflow.calibrate.sweep import Sweep
from orbitflow.config import Replay
from orbitflow.errors import ProfileError, UserError
from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.profile import Profile
from orbitflow.traces.trace import Trace

Say = Callable[[str], object]


class Parts(NamedTuple):
    """A device with a model on it."""

    machine: BackendMachine
    model: LoadedModel
    decoder: Decoder


def load_parts(replay: Replay, seed: int, say: Say) -> Parts:
    """Find the device and load the model. Raise a UserError if either cannot be had."""
    machine = find_machine(replay.device, replay.link_bytes_per_s)
    dtype = replay.dtype or ("float32" if machine.is_cpu else None)
    model = load_model(replay.model, machine.device, dtype, seed)
    if model.folder is None:
        say(f"{model.architecture.spec.name}: random weights, seed {seed}: its text means nothing")
    return Parts(machine, model, machine.decoder(model))


def believed_profile(name: str | None, parts: Parts, replay: Replay, say: Say) -> Profile:
    """The profile that policies plan with: the one that was named, or a quick measurement.

    Raise a ProfileError if it is of another model or device, unless that is forced.
    """
    if name is None:
        say("measuring the machine for a few seconds (`--profile` takes a calibrated profile)")
        with parts.machine.computing():
            measured = calibrate(
                parts.model,
                parts.machine,
                Sweep.START,
                model_name=replay.model,
                date=datetime.now(UTC).date().isoformat(),
                salvage=False,
            )
        parts.machine.release()
        for notice in measured.notices:
            say(f"note: {notice}")
        return measured.profile
    profile, spec = resolve_profile(name), parts.model.architecture.spec
    ours, theirs = spec, profile.model
    if (theirs.layers, theirs.kv_bytes_per_token) != (ours.layers, ours.kv_bytes_per_token):
        raise ProfileError(
            f"--profile {name} is of {theirs.name} with {theirs.layers} layers and "
            f"{theirs.kv_bytes_per_token:,} B of KV per token, {ours.name} has {ours.layers} and "
            f"{ours.kv_bytes_per_token:,} B: calibrate this model, or leave the option out"
        )
    for said in _strange(profile, parts):
        if not replay.force:
            raise ProfileError(
                f"--profile {name} {said}: calibrate this one (`orbitflow calibrate`), leave the "
                "option out, or plan with it nevertheless (--force)"
            )
        say(f"note: --profile {name} {said}; plans will be as good as it fits")
    return profile


def _strange(profile: Profile, parts: Parts) -> list[str]:
    """What in the profile is not of this model and device, though their KV is alike."""
    said, spec = [], parts.model.architecture.spec
    if not profile.model.same_shape(spec):
        said.append(f"is of the model {profile.model.name}, not of {spec.name}")
    if profile.provenance.device != parts.machine.name:
        said.append(f"is of {profile.provenance.device}, not of {parts.machine.name}")
    return said


def refuse_too_long(trace: Trace, limit: int) -> None:
    """Raise a UserError if a request grows beyond the positions that the model knows."""
    longest = int(trace.final_tokens().max())
    if longest > limit:
        count = int((trace.final_tokens() > limit).sum())
        raise UserError(
            f"{count:,} of {len(trace):,} requests grow beyond the {limit:,} tokens of the model, "
            f"to {longest:,}: lower --context-scale, or take a model with a longer context"
        )
