"""Every option of a run, in one frozen tree: the only place where defaults live.

The command line takes its defaults and help from here, the run folder's `config.toml` is written
from here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from enum import StrEnum

from orbitflow.errors import UserError
from orbitflow.machine.perturbation import read_perturbation


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


SMALLEST, LARGEST = 1e-9, 1e9  # of scales and times: beyond, sums lose their digits
AZURE_RATE_SCALE = 0.18
DEFAULT_MAX_BATCH = 256


@dataclass(frozen=True)
class RunConfig:
    """What a person asked for. None means: take the trace's or the profile's.

    Without slots, so that the class itself carries the defaults: ``RunConfig.slo_scale`` is 1.5.
    """

    trace: str
    policies: tuple[str, ...] = ()
    profile: str | None = None
    model: str | None = None
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
        for name in ("profile", "model"):
            if getattr(self, name) == "":
                raise UserError(f"--{name} is empty: give a name or a path, or leave it out")
        if not 0 <= self.arrival_jitter < 1:
            raise UserError(
                f"--arrival-jitter {self.arrival_jitter} must be at least 0 and less than 1"
            )
        for name in ("slo_scale", "slo_tbt_s", "slo_ttft_s", "rate_scale", "context_scale",
                     "output_scale", "link_scale", "compute_scale", "token_value"):  # fmt: skip
            self._check_positive(name)
        for name in ("gpu_memory_bytes", "kv_capacity_tokens", "host_memory_bytes", "num_requests"):
            self._check_positive(name)
        if self.perturb is not None:
            read_perturbation(self.perturb)
        self._check_at_least_zero("slo_ttft_scale")
        self._check_at_least_zero("lost_weight")
        self._check_at_least_zero("late_load")
        self._check_at_least_zero("max_batch", " (0 = no limit)")
        self._check_at_least_zero("prefill_chunk", " (0 = whole prompts)")
        self._check_at_least_zero("seed")

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

    def _check_positive(self, name: str) -> None:
        value = getattr(self, name)
        if value is None or (isinstance(value, int) and value > 0):
            return
        if not SMALLEST <= value <= LARGEST:
            raise UserError(
                f"{_option(name)} {value} must be above 0, from {SMALLEST:g} to {LARGEST:g}"
            )

    def _check_at_least_zero(self, name: str, hint: str = "") -> None:
        value = getattr(self, name)
        if value is None:
            return
        if not -LARGEST <= value <= LARGEST:
            raise UserError(f"{_option(name)} {value} must be finite, at most {LARGEST:g}{hint}")
        if value < 0:
            raise UserError(f"{_option(name)} {value} must be at least 0{hint}")


def _option(name: str) -> str:
    stem = name.removesuffix("_bytes").removesuffix("_s") if name != "slo_ttft_s" else "slo_ttft"
    return "--" + stem.replace("_", "-")


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
