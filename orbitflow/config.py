"""Every option of a run, in frozen dataclasses: the only place where defaults live.

What each is for and may be is a row of `options`; command lines and the run folder's `config.toml`
are made from both.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from enum import StrEnum

from orbitflow.errors import UserError
from orbitflow.machine.perturbation import read_perturbation
from orbitflow.options import REPLAY_OPTIONS, RUN_OPTIONS, check
from orbitflow.units import TimeUnit

AZURE_RATE_SCALE = 0.18
DEFAULT_MAX_BATCH = 256


class DepositRule(StrEnum):
    """Whose early tokens are banked when lateness is judged."""

    ALL = "all"
    POLICY = "policy"
    NONE = "none"


class DeliveryPace(StrEnum):
    """When tokens reach the client: at the SLO's pace, or as they are generated."""

    SLO = "slo"
    IMMEDIATE = "immediate"


class Fidelity(StrEnum):
    """How finely a simulation follows the machine: pass by pass, or layer by layer."""

    STEP = "step"
    LAYER = "layer"


class PipelineForm(StrEnum):
    """How streaming overlaps with compute, for policies that stream."""

    RING = "ring"
    PAPER = "paper"


class Victim(StrEnum):
    """Whom a plan may pause first when not everybody can run."""

    DENSITY = "density"  # whoever costs the fewest late tokens for the memory freed
    LONGEST = "longest"  # the paper's choice
    SHORTEST = "shortest"
    RANDOM = "random"


class SolverName(StrEnum):
    """Who makes the plans of policies that plan."""

    AUTO = "auto"  # the fast search
    ILP = "ilp"  # the integer program, from the search's plan on; HiGHS solves it


class LengthsKnown(StrEnum):
    """What `orbit` knows of output lengths."""

    QUANTILE = "quantile"  # of finished requests
    ORACLE = "oracle"  # the true ones, to study what guessing costs


@dataclass(frozen=True)
class Tuning:
    """What a run switches off or chooses; policies without a planner ignore it.

    `token_value`: late tokens that a token not made counts for. `lost_weight`: what a late token
    counts for a request that has missed its TTFT limit. `late_load`: share of what can be fed, and
    of the batch's places, up to which such requests are let in.
    """

    refine: bool = True
    deposit: bool = True
    pause: bool = True
    gate: bool = True
    spread: bool = True
    preload: bool = True
    victim: Victim = Victim.DENSITY
    solver: SolverName = SolverName.AUTO
    lengths: LengthsKnown = LengthsKnown.QUANTILE
    token_value: float = 0.2
    lost_weight: float = 0.5
    late_load: float = 0.75


@dataclass(frozen=True)
class RunConfig:
    """What a person asked for. None means: take the trace's or the profile's.

    Without slots, so that the class itself carries the defaults: ``RunConfig.slo_scale`` is 1.5.
    """

    trace: str
    policies: tuple[str, ...] = ()
    profile: str | None = None
    model: str | None = None
    tp: int | None = None
    gpu_memory_bytes: int | None = None
    kv_capacity_tokens: int | None = None
    host_memory_bytes: int | None = None
    ring_extra: bool = False
    max_batch: int | None = None
    slo_scale: float = 1.5
    slo_tbt_s: float | None = None
    slo_ttft_s: float = 2.0
    slo_ttft_scale: float = 5.0
    rate_scale: float | None = None
    context_scale: float = 1.0
    output_scale: float = 1.0
    num_requests: int | None = None
    time_unit: TimeUnit | None = None
    columns: str | None = None
    arrival_jitter: float = 0.0
    link_scale: float = 1.0
    compute_scale: float = 1.0
    prefill_chunk: int = 0
    pipeline: PipelineForm = PipelineForm.RING
    fidelity: Fidelity = Fidelity.STEP
    timeline: bool = False
    deposit: DepositRule = DepositRule.ALL
    pace: DeliveryPace = DeliveryPace.SLO
    no_refine: bool = False
    no_deposit: bool = False
    no_pause: bool = False
    no_gate: bool = False
    no_spread: bool = False
    no_preload: bool = False
    victim: Victim = Victim.DENSITY
    lengths: LengthsKnown = LengthsKnown.QUANTILE
    token_value: float = Tuning.token_value
    lost_weight: float = Tuning.lost_weight
    late_load: float = Tuning.late_load
    solver: SolverName = SolverName.AUTO
    perturb: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise a UserError for a value that no run can have."""
        check(self, RUN_OPTIONS)
        if self.perturb is not None:
            read_perturbation(self.perturb)

    @property
    def tuning(self) -> Tuning:
        """The switches of policies that plan."""
        return Tuning(
            refine=not self.no_refine,
            deposit=not self.no_deposit,
            pause=not self.no_pause,
            gate=not self.no_gate,
            spread=not self.no_spread,
            preload=not self.no_preload,
            victim=self.victim,
            lengths=self.lengths,
            token_value=self.token_value,
            lost_weight=self.lost_weight,
            late_load=self.late_load,
            solver=self.solver,
        )


@dataclass(frozen=True)
class Replay:
    """How a trace is replayed on a real device, beyond what a simulation is asked for. None: take
    the model's, or the device's own.

    Without slots, so that the class itself carries the defaults.
    """

    device: str = "cpu"
    model: str = "tiny-llama"
    dtype: str | None = None
    link_bytes_per_s: float | None = None
    time_scale: float = 1.0
    force: bool = False

    def __post_init__(self) -> None:
        """Raise a UserError for a value that no run can have."""
        check(self, REPLAY_OPTIONS)


def to_toml(
    config: RunConfig, extra: dict[str, object], *, replay: dict[str, object] | None = None
) -> str:
    """The resolved configuration as TOML: every option, those of a backend run under `[backend]`,
    then what they were resolved to.
    """
    options = {field.name: getattr(config, field.name) for field in fields(config)}
    lines = ["# orbitflow run configuration; schema_version 1", *_table(options)]
    if replay is not None:
        lines += ["", "[backend]", *_table(replay)]
    lines += ["", "[resolved]", *_table(extra)]
    return "\n".join(lines) + "\n"


def _table(values: dict[str, object]) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in values.items() if value is not None]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(_toml(v) for v in value)}]"
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


_REMOVED = dict.fromkeys(
    (("solver", "cbc"), ("solver", "highs")),
    "was removed: leave --solver out, or write ilp, which HiGHS solves",
)


def is_removed(name: str, value: str) -> bool:
    """Whether there was an option of that name, or such a value of it."""
    return (name, value) in _REMOVED or (name, "") in _REMOVED


def refuse_removed(name: str, value: str) -> None:
    """Raise a UserError for an option or a value that there was, saying what takes its place."""
    for key in ((name, value), (name, "")):
        if said := _REMOVED.get(key):
            raise UserError(f"--{' '.join(filter(None, key)).replace('_', '-')} {said}")
