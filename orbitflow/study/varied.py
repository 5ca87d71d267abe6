"""What a capacity question varies: an option of a run that makes serving harder one way only.

Values are compared as factors: the middle of two is their geometric mean. Options that count
something (bytes, tokens) move on a lattice whose step is one page, less than which nothing sees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from orbitflow.config import RunConfig
from orbitflow.errors import UserError, nearest
from orbitflow.machine.profile import USABLE_SHARE
from orbitflow.options import LARGEST, SMALLEST
from orbitflow.scenario import Scenario
from orbitflow.study.keys import is_key, key_of, read_value

Number: TypeAlias = int | float

# Whether serving gets harder as the option grows. `max_batch` is not here: it may help or harm.
_HARDER_AS_IT_GROWS = {
    "rate_scale": True,
    "context_scale": True,
    "output_scale": True,
    "link_scale": False,
    "compute_scale": False,
    "gpu_memory_bytes": False,
    "kv_capacity_tokens": False,
    "host_memory_bytes": False,
    "slo_scale": False,
    "slo_tbt_s": False,
    "slo_ttft_s": False,
    "slo_ttft_scale": False,
}


class Ends(NamedTuple):
    """A bracket that a person gave: its easy and its hard end."""

    easy: Number
    hard: Number


@dataclass(frozen=True, slots=True)
class Varied:
    """One option, which way it gets harder, and how finely it is looked at."""

    key: str
    start: Number  # the base configuration's
    step: int | None = None  # of the lattice; None: continuous
    tolerance: float = 0.02

    @property
    def grows(self) -> bool:
        """Whether a larger value is harder; then the highest one that still serves is wanted."""
        return _HARDER_AS_IT_GROWS[self.key]

    def hardness(self, value: Number) -> float:
        """Orders values from easy to hard."""
        return value if self.grows else -value

    def harder(self, value: Number, factor: float) -> Number | None:
        """A value harder by a factor above 1 (easier below 1); None if there is none."""
        wanted = value * factor if self.grows else value / factor
        if self.step is None:
            return self._rounded(wanted) if SMALLEST <= wanted <= LARGEST else None
        found = max(1, round(wanted / self.step)) * self.step
        is_further = (found > value) == (wanted > value) and found != value
        return found if is_further else None

    def is_close(self, one: Number, other: Number) -> bool:
        """Whether the answer is known once it lies between these two."""
        least = self.tolerance * min(one, other)
        return abs(one - other) <= max(least, self.step or 0)

    def middle(self, one: Number, other: Number) -> Number:
        """A value between two that are not close: their geometric mean, on the lattice."""
        low, high = sorted((one, other))
        middle = math.sqrt(low) * math.sqrt(high)
        if self.step is not None:
            found = int(middle // self.step) * self.step
            return found if found > low else found + self.step
        rounded = self._rounded(middle)
        return rounded if low < rounded < high else middle

    def _rounded(self, value: float) -> float:
        """With as many digits as the tolerance needs."""
        digits = 2 + math.ceil(-math.log10(self.tolerance))
        return float(f"{value:.{digits}g}")


class VaryOption(NamedTuple):
    """What `--vary` says: a key, and the bracket if there is one."""

    key: str
    ends: Ends | None


def read_vary(option: str) -> VaryOption:
    """Read `key` or `key=low..high`. Raise a UserError for what cannot be varied."""
    name, equals, ends = option.partition("=")
    key = _key(name)
    if not equals:
        return VaryOption(key, None)
    low, dots, high = ends.partition("..")
    if not dots:
        raise UserError(f"--vary {option!r}: write a bracket as {name}=low..high")
    least, most = (read_value(key, text, f"--vary {name}") for text in (low, high))
    assert isinstance(least, int | float), "every key that can be varied is a number"
    assert isinstance(most, int | float), "every key that can be varied is a number"
    if not 0 < least < most:
        raise UserError(f"--vary {option!r}: low must be above 0 and below high")
    return VaryOption(key, Ends(least, most) if _HARDER_AS_IT_GROWS[key] else Ends(most, least))


def _key(name: str) -> str:
    wanted = name.strip().lower().lstrip("-").replace("-", "_")
    if is_key(wanted) and (key := key_of(wanted)) in _HARDER_AS_IT_GROWS:
        return key
    if is_key(wanted):
        known = ", ".join(k.removesuffix("_bytes").removesuffix("_s") for k in _HARDER_AS_IT_GROWS)
        raise UserError(f"--vary {name}: more of it is neither easier nor harder: vary {known}")
    raise UserError(f"--vary: no option is called {name!r}: {nearest(wanted, _HARDER_AS_IT_GROWS)}")


def varied(
    key: str, config: RunConfig, scenario: Scenario, ends: Ends | None, tolerance: float
) -> Varied:
    """The option as this base configuration has it. Raise a UserError if varying it changes
    nothing, or if the base has no value to start from and there is no bracket.
    """
    if key == "gpu_memory_bytes" and config.kv_capacity_tokens is not None:
        raise UserError("--vary gpu-memory with --kv-capacity-tokens changes nothing: drop one")
    arrivals = scenario.trace.arrival
    if key == "rate_scale" and arrivals[0] == arrivals[-1]:
        raise UserError(
            f"--vary rate-scale: all requests of {scenario.trace.name} come at once, at any rate: "
            "vary something else"
        )
    step = _step(key, scenario)
    start = _start(key, config, scenario)
    if start is None or start <= 0:
        if ends is None:
            raise UserError(
                f"--vary {key}: the base configuration has no {key} to start from: "
                f"write a bracket, {key}=low..high"
            )
        start = ends.easy
    return Varied(key, start if step is not None else float(start), step, tolerance)


def _start(key: str, config: RunConfig, scenario: Scenario) -> Number | None:
    profile = scenario.profile
    resolved: dict[str, Number | None] = {
        "rate_scale": scenario.rate_scale,
        "gpu_memory_bytes": config.gpu_memory_bytes or profile.gpu_memory_bytes,
        "kv_capacity_tokens": scenario.limits.capacity_tokens,
        "host_memory_bytes": config.host_memory_bytes or profile.host_memory_bytes,
        "slo_tbt_s": scenario.slo.tau_s,
    }
    if key in resolved:
        return resolved[key]
    value = getattr(config, key)
    assert isinstance(value, int | float)
    return value


def _step(key: str, scenario: Scenario) -> int | None:
    """Bytes or tokens of one page: of all layers on the GPU, of one layer on the host."""
    model, page_tokens = scenario.profile.model, scenario.limits.page_tokens
    steps = {
        "gpu_memory_bytes": math.ceil(page_tokens * model.kv_bytes_per_token / USABLE_SHARE),
        "kv_capacity_tokens": page_tokens,
        "host_memory_bytes": page_tokens * model.kv_bytes_per_token_per_layer,
    }
    return steps.get(key)
