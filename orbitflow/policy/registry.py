"""Names of policies. A new policy is one line in `_FACTORIES`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from orbitflow.engine.policy import Policy
from orbitflow.errors import PolicyNameError, nearest
from orbitflow.policy.flexgen import FlexGen
from orbitflow.policy.neo import Neo
from orbitflow.policy.no_offload import NoOffload
from orbitflow.policy.orbit.policy import Orbit
from orbitflow.policy.orbitflow.policy import OrbitFlow, uniform_ilp
from orbitflow.policy.preempt import Preempt
from orbitflow.policy.select_n import FlexGenPlus, SelectN, SelectNArtifact
from orbitflow.policy.stride import DeepSpeed, Dynamic, InfiniGen, StaticStride, ZeroInference

_FACTORIES: dict[str, Callable[[], Policy]] = {
    "no-offload": NoOffload,
    "preempt-recompute": lambda: Preempt("preempt-recompute", swaps=False),
    "preempt-swap": lambda: Preempt("preempt-swap", swaps=True),
    "deepspeed": DeepSpeed,
    "zero-inference": ZeroInference,
    "flexgen": FlexGen,
    "static-1": lambda: StaticStride(1),
    "static-2": lambda: StaticStride(2),
    "static-4": lambda: StaticStride(4),
    "static-8": lambda: StaticStride(8),
    "flexgen-plus": FlexGenPlus,
    "dynamic": Dynamic,
    "select-n": SelectN,
    "select-n-artifact": SelectNArtifact,
    "infinigen": InfiniGen,
    "neo": Neo,
    "uniform-ilp": uniform_ilp,
    "orbitflow": OrbitFlow,
    "orbit": Orbit,
}

DEFAULT_POLICIES = ("no-offload", "dynamic", "orbitflow", "orbit")
_STATIC = re.compile(r"static-([1-9]\d*)")


def policy_names() -> list[str]:
    """Names that `all` stands for; any other `static-D` is understood as well."""
    return list(_FACTORIES)


def make_policy(name: str) -> Policy:
    """A fresh policy of that name. Raise a PolicyNameError that suggests the nearest names."""
    if name in _FACTORIES:
        return _FACTORIES[name]()
    if match := _STATIC.fullmatch(name):
        return StaticStride(int(match[1]))
    raise PolicyNameError(f"no policy is called {name!r}: {nearest(name, _FACTORIES)}")


def expand(names: Sequence[str]) -> list[str]:
    """Resolve `all` and drop repetitions, keeping the order; nothing named gives the defaults."""
    wanted: list[str] = []
    for name in names or DEFAULT_POLICIES:
        wanted.extend(policy_names() if name == "all" else [name])
    for name in wanted:
        make_policy(name)
    return list(dict.fromkeys(wanted))
