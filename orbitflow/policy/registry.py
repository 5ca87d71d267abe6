"""Names of policies. A new policy of the package is one line in `_FACTORIES`; one from outside is
a reference (`outside`), an object, or an entry point of the group `orbitflow.policies`.

Invariant: a built-in's name means the built-in, always; whatever else calls itself so is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pkgutil import resolve_name
from typing import NamedTuple

from orbitflow.engine.policy import Policy
from orbitflow.errors import PolicyNameError, nearest
from orbitflow.policy.outside import (
    absolute,
    entry_points,
    is_reference,
    load_class,
    made_by,
    reference_of,
    source_digest,
)

# Where a policy is made, below `orbitflow.policy`; imported when asked for. `static-D` takes its D.
_FACTORIES: dict[str, str] = {
    "no-offload": "no_offload:NoOffload",
    "preempt-recompute": "preempt:preempt_recompute",
    "preempt-swap": "preempt:preempt_swap",
    "deepspeed": "stride:deepspeed",
    "zero-inference": "stride:zero_inference",
    "flexgen": "flexgen:FlexGen",
    "static-1": "stride:StaticStride",
    "static-2": "stride:StaticStride",
    "static-4": "stride:StaticStride",
    "static-8": "stride:StaticStride",
    "flexgen-plus": "select_n:FlexGenPlus",
    "dynamic": "stride:Dynamic",
    "select-n": "select_n:SelectN",
    "select-n-artifact": "select_n:SelectNArtifact",
    "infinigen": "stride:infinigen",
    "neo": "neo:Neo",
    "uniform-ilp": "orbitflow.policy:uniform_ilp",
    "orbitflow": "orbitflow.policy:OrbitFlow",
    "orbit": "orbit.policy:Orbit",
}

DEFAULT_POLICIES = ("no-offload", "dynamic", "orbitflow", "orbit")
ALL = "all"
_STATIC = re.compile(r"static-([1-9]\d*)")

Make = Callable[[], Policy]


class ChosenPolicy(NamedTuple):
    """A policy that a run compares: what tables and folders call it, what configurations say."""

    label: str
    reference: str
    make: Make


def builtin_names() -> list[str]:
    """Names that `all` stands for; any other `static-D` is understood as well."""
    return list(_FACTORIES)


def policy_names() -> list[str]:
    """The built-in names, then those of the entry-point group."""
    return [*_FACTORIES, *_installed()]


def make_policy(name: str) -> Policy:
    """A fresh policy of that name, or of the class that a reference names. Raise a PolicyNameError
    that suggests the nearest names.
    """
    if name in _FACTORIES or _STATIC.fullmatch(name):
        return _built_in(name)
    if is_reference(name):
        policy = made_by(load_class(name), f"policy {name}")
        _refuse_builtin(policy.name, name)
        return policy
    installed = _installed()
    if name in installed:
        policy = made_by(load_class(installed[name]), f"policy {name} ({installed[name]})")
        if policy.name != name:
            raise PolicyNameError(
                f"policy {name} ({installed[name]}) calls itself {policy.name!r}: the entry point "
                "and the class must have one name"
            )
        return policy
    if name.endswith(".py"):
        raise PolicyNameError(f"no policy is called {name!r}: of a file, write {name}:Class")
    known = [*_FACTORIES, *installed]
    raise PolicyNameError(f"no policy is called {name!r}: {nearest(name, known)}")


def label_of(reference: str) -> str:
    """What tables and folders call the policy of a name or reference."""
    return make_policy(reference).name if is_reference(reference) else reference


def expand(names: Sequence[str], known: Collection[str] = ()) -> list[str]:
    """Resolve `all` and drop repetitions, keeping the order; nothing named gives the defaults.
    References name files by absolute paths. What is `known` is not looked up.
    """
    wanted: list[str] = []
    for name in names or DEFAULT_POLICIES:
        wanted.extend(builtin_names() if name == ALL else [absolute(name)])
    for name in wanted:
        if name not in known:
            make_policy(name)
    return list(dict.fromkeys(wanted))


def choose(names: Sequence[str], guests: Mapping[str, Make]) -> tuple[ChosenPolicy, ...]:
    """What a run compares, `guests` being made here instead of looked up.

    Raise a PolicyNameError for a stranger, or if two call themselves alike.
    """
    found: dict[str, ChosenPolicy] = {}
    for reference in expand(names, guests):
        if reference in guests:
            choice = ChosenPolicy(reference, reference, guests[reference])
        else:
            choice = ChosenPolicy(label_of(reference), reference, partial(make_policy, reference))
        if (other := found.get(choice.label)) is not None:
            raise PolicyNameError(
                f"policies {other.reference} and {reference} both call themselves "
                f"{choice.label!r}: give one of them another name"
            )
        found[choice.label] = choice
    return tuple(found.values())


def guest(given: Policy | type[Policy], make: Make) -> str:
    """The label of a policy given as an object or a class, which `make` makes afresh. Raise a
    PolicyNameError if it declares too little, or has a built-in's name.
    """
    kind = given if isinstance(given, type) else type(given)
    label = made_by(make, f"policy {kind.__qualname__}").name
    _refuse_builtin(label, kind.__qualname__)
    return label


def digests(references: Sequence[str]) -> dict[str, str]:
    """Digests of the sources of those from outside, for files change under their names."""
    installed = _installed() if any(not _is_builtin(name) for name in references) else {}
    outside = {name: installed.get(name, name) for name in references if not _is_builtin(name)}
    return {name: source_digest(load_class(place)) for name, place in outside.items()}


def _built_in(name: str) -> Policy:
    match = _STATIC.fullmatch(name)
    place = "stride:StaticStride" if match else _FACTORIES[name]
    make: Callable[..., Policy] = resolve_name(f"orbitflow.policy.{place}")
    return make(int(match[1])) if match else make()


def _is_builtin(name: str) -> bool:
    return name in _FACTORIES or name == ALL or _STATIC.fullmatch(name) is not None


def _refuse_builtin(label: str, said: str) -> None:
    if _is_builtin(label):
        raise PolicyNameError(
            f"policy {said} calls itself {label!r}, as a built-in does: give it another name"
        )


def _installed() -> dict[str, str]:
    """References of the entry-point group by name. Raise a PolicyNameError for a built-in's."""
    found = {name: reference_of(point) for name, point in entry_points().items()}
    for name, place in found.items():
        if _is_builtin(name):
            raise PolicyNameError(
                f"the entry point {name!r} ({place}) has the name of a built-in: rename it, or "
                "uninstall its distribution"
            )
    return found
