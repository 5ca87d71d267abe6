"""What every option of a run is for, a row for each field of its configuration.

Command lines, their reference page and the checks are made from these rows; types and defaults are
those of the fields. The end of a field's name is the unit that it is kept in and no part of its
option: people write `slo_tbt_s` as `--slo-tbt 100ms`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from orbitflow.errors import UserError
from orbitflow.units import parse_bytes, parse_option, parse_rate, parse_seconds

SMALLEST, LARGEST = 1e-9, 1e9  # of scales and times: beyond, sums lose their digits

WORKLOAD, MACHINE, SERVING = "Workload", "Machine", "Serving"
SLO, PLANNING, OUTPUT, BACKEND = "SLO and delivery", "Planning", "Output", "Backend"

_READ: dict[str, Callable[[str], float]] = {
    "_bytes_per_s": parse_rate,
    "_bytes": parse_bytes,
    "_s": parse_seconds,
}


class Allowed(Enum):
    """Which values an option may have."""

    ANY = auto()
    POSITIVE = auto()
    NOT_NEGATIVE = auto()
    BELOW_ONE = auto()  # and not negative
    FILLED = auto()  # text that is not empty


@dataclass(frozen=True, slots=True)
class OptionSpec:
    """An option for people. `zero` is what 0 means; `name`, if it does not follow from the field.

    Of an option and one that it stands `instead_of` only one may be given. `is_basic`: `--help`
    shows it, the others are behind `--help-all`.
    """

    help: str
    panel: str
    allowed: Allowed = Allowed.ANY
    is_basic: bool = False
    zero: str = ""
    name: str = ""
    instead_of: str = ""


# fmt: off
RUN_OPTIONS = {
    "trace": OptionSpec(
        "A trace file of a known format, or a known name such as azure_conv.jsonl.",
        WORKLOAD, is_basic=True,
    ),
    "policies": OptionSpec(
        "Policies: names such as orbit,dynamic, path/to/file.py:Class, package.module:Class, or "
        "`all` built-in ones; may be repeated. Default: no-offload, dynamic, orbitflow, orbit.",
        SERVING, is_basic=True, name="policy",
    ),
    "profile": OptionSpec(
        "A built-in profile (see `orbitflow profile list`), a profile file, or a GPU such as "
        "h100. Default: a5000-llama3-8b-paper.",
        MACHINE, Allowed.FILLED, is_basic=True,
    ),
    "model": OptionSpec(
        "A model preset or HF config.json; for roofline profiles.",
        MACHINE, Allowed.FILLED, is_basic=True,
    ),
    "tp": OptionSpec(
        "GPUs that share the model (tensor parallel); for roofline profiles. Default 1.",
        MACHINE, Allowed.POSITIVE, is_basic=True,
    ),
    "gpu_memory_bytes": OptionSpec(
        "GPU memory, such as 24GiB.",
        MACHINE, Allowed.POSITIVE, is_basic=True,
    ),
    "kv_capacity_tokens": OptionSpec(
        "KV that the GPU holds, in tokens (tail pages and staging ring included); instead of "
        "--gpu-memory.",
        MACHINE, Allowed.POSITIVE, is_basic=True, instead_of="gpu_memory",
    ),
    "host_memory_bytes": OptionSpec(
        "Host memory for KV, such as 256GiB.", MACHINE, Allowed.POSITIVE
    ),
    "ring_extra": OptionSpec(
        "Let the staging ring come on top of the KV capacity, as in the paper.",
        MACHINE,
    ),
    "max_batch": OptionSpec(
        "Most requests served at once, paused ones included; 0 = no limit. Default: the "
        "trace's own, else what the profile was measured with, else 256.",
        SERVING, Allowed.NOT_NEGATIVE, is_basic=True, zero="no limit",
    ),
    "slo_scale": OptionSpec(
        "Limit on the time between tokens, as a multiple of a decode pass with full KV.",
        SLO, Allowed.POSITIVE, is_basic=True,
    ),
    "slo_tbt_s": OptionSpec(
        "Limit on the time between tokens, such as 100ms; instead of --slo-scale.",
        SLO, Allowed.POSITIVE, is_basic=True, instead_of="slo_scale",
    ),
    "slo_ttft_s": OptionSpec(
        "Limit on the time to first token: this much, plus --slo-ttft-scale times its isolated "
        "prefill.",
        SLO, Allowed.POSITIVE, is_basic=True,
    ),
    "slo_ttft_scale": OptionSpec(
        "Limit on the time to first token, as a multiple of the request's isolated prefill, on "
        "top of --slo-ttft.",
        SLO, Allowed.NOT_NEGATIVE,
    ),
    "rate_scale": OptionSpec(
        "Multiply the arrival rate. Default 1; for the Azure trace on the default profile "
        "0.18.",
        WORKLOAD, Allowed.POSITIVE, is_basic=True,
    ),
    "context_scale": OptionSpec(
        "Multiply prompt lengths.",
        WORKLOAD, Allowed.POSITIVE, is_basic=True,
    ),
    "output_scale": OptionSpec("Multiply output lengths.", WORKLOAD, Allowed.POSITIVE),
    "num_requests": OptionSpec(
        "Take only the first N requests.",
        WORKLOAD, Allowed.POSITIVE, is_basic=True,
    ),
    "time_unit": OptionSpec(
        "The unit of the trace's time stamps. Default: the one of its format.",
        WORKLOAD,
    ),
    "columns": OptionSpec(
        "A CSV trace with these columns, such as time=start,prompt=tokens_in,output=tokens_out.",
        WORKLOAD, Allowed.FILLED,
    ),
    "arrival_jitter": OptionSpec(
        "Multiply every gap by 1 ± x, seeded; 0 <= x < 1.",
        WORKLOAD, Allowed.BELOW_ONE,
    ),
    "link_scale": OptionSpec("Multiply the link's bandwidth.", MACHINE, Allowed.POSITIVE),
    "compute_scale": OptionSpec("Multiply the speed of compute.", MACHINE, Allowed.POSITIVE),
    "prefill_chunk": OptionSpec(
        "Prompt tokens per pass beside decode; 0 = whole prompts first.",
        SERVING, Allowed.NOT_NEGATIVE, zero="whole prompts",
    ),
    "pipeline": OptionSpec(
        "How streaming overlaps with compute: a finite ring with prefetch across passes, or "
        "the paper's form.",
        SERVING,
    ),
    "fidelity": OptionSpec(
        "Time whole passes, or every layer and transfer as an event (slower).",
        OUTPUT,
    ),
    "timeline": OptionSpec(
        "Write timeline.json (its first 400,000 events) for Perfetto: passes, requests, "
        "counters; with --fidelity layer every layer and transfer.",
        OUTPUT, is_basic=True,
    ),
    "deposit": OptionSpec("Whose early tokens are banked when lateness is judged.", SLO),
    "pace": OptionSpec("When tokens reach the client: at the SLO's pace, or at once.", SLO),
    "no_refine": OptionSpec("No feedback from measured passes.", PLANNING),
    "no_deposit": OptionSpec("No planning on banked tokens.", PLANNING),
    "no_pause": OptionSpec("Pause requests only where memory runs out.", PLANNING),
    "no_gate": OptionSpec("Admit whoever fits.", PLANNING),
    "no_spread": OptionSpec("orbit: host layers of all requests in phase.", PLANNING),
    "no_preload": OptionSpec("orbit: load nothing for paused requests.", PLANNING),
    "victim": OptionSpec("Whom orbitflow may pause first.", PLANNING),
    "lengths": OptionSpec("Where orbit takes output lengths from.", PLANNING),
    "token_value": OptionSpec(
        "orbit: late tokens that a token not made counts for; more favours speed.",
        PLANNING, Allowed.POSITIVE,
    ),
    "lost_weight": OptionSpec(
        "orbit: what a late token counts for a request that has missed its TTFT limit; below 1 "
        "favours those that can still meet both.",
        PLANNING, Allowed.NOT_NEGATIVE,
    ),
    "late_load": OptionSpec(
        "orbit: share of the sustainable load, and of the batch's places, up to which requests "
        "are admitted that have missed their TTFT limit; more shortens the longest waits and "
        "costs attainment.",
        PLANNING, Allowed.NOT_NEGATIVE,
    ),
    "solver": OptionSpec(
        "Who makes the plans of orbit and orbitflow: the fast search or, slowly and for "
        "reference, the integer program, which HiGHS solves.",
        PLANNING,
    ),
    "perturb": OptionSpec(
        "A machine unlike its profile, such as link=0.5,compute=1.3,noise=0.05: half the "
        "bandwidth, passes 1.3 times as long, 5 % noise.",
        MACHINE,
    ),
    "seed": OptionSpec("Seed of everything random.", WORKLOAD, Allowed.NOT_NEGATIVE, is_basic=True),
}

REPLAY_OPTIONS = {
    "device": OptionSpec(
        "cpu (one core plays the GPU, a paced copy thread the link), cuda or cuda:N.",
        BACKEND, is_basic=True,
    ),
    "model": OptionSpec(
        "A Hugging Face model directory, or a preset or config.json with random weights.",
        BACKEND, Allowed.FILLED, is_basic=True,
    ),
    "dtype": OptionSpec(
        "Compute and keep KV in float32, bfloat16 or float16. Default: the model's; float32 on a "
        "CPU.",
        BACKEND,
    ),
    "link_bytes_per_s": OptionSpec(
        "Rate of the emulated link, such as 0.4GB/s, each way; cpu only. Default: 0.4GB/s, about "
        "what a core copies beside compute.",
        BACKEND, Allowed.POSITIVE, name="link_bandwidth",
    ),
    "time_scale": OptionSpec(
        "Real seconds per second of the trace: 0.1 replays it ten times as fast. Limits stay as "
        "they are.",
        BACKEND, Allowed.POSITIVE, is_basic=True,
    ),
    "force": OptionSpec("Plan with a profile of another model or device.", BACKEND),
}
# fmt: on


def parameter_name(field: str, spec: OptionSpec) -> str:
    """Its option as a Python name: `slo_tbt` for the field `slo_tbt_s`."""
    return spec.name or field.removesuffix(unit_of(field))


def option_name(field: str, spec: OptionSpec) -> str:
    """How it is written: `--slo-tbt`."""
    return "--" + parameter_name(field, spec).replace("_", "-")


def unit_of(field: str) -> str:
    """The unit at the end of a field's name, or nothing."""
    return next((unit for unit in _READ if field.endswith(unit)), "")


def read_quantity(field: str, spec: OptionSpec, text: str) -> float:
    """Read text with a unit for a field that has one. Raise a UserError that names the option."""
    return parse_option(option_name(field, spec), text, _READ[unit_of(field)])


def check(configuration: Any, specs: Mapping[str, OptionSpec]) -> None:
    """Raise a UserError for a value out of its option's range."""
    for field, spec in specs.items():
        value = getattr(configuration, field)
        if value is not None:
            _check(option_name(field, spec), spec, value)


def refuse_contradictions(
    given: Collection[str], write: Callable[[str, OptionSpec], str] = option_name
) -> None:
    """Raise a UserError if two fields were given of which one makes the other meaningless; `write`
    says how an option is called where it was given.
    """
    fields = {parameter_name(field, spec): field for field, spec in RUN_OPTIONS.items()}
    for field, spec in RUN_OPTIONS.items():
        other = fields.get(spec.instead_of)
        if other is not None and field in given and other in given:
            raise UserError(
                f"{write(field, spec)} stands instead of {write(other, RUN_OPTIONS[other])}: leave "
                "one of them out"
            )


def _check(name: str, spec: OptionSpec, value: Any) -> None:
    hint = f" (0 = {spec.zero})" if spec.zero else ""
    if spec.allowed is Allowed.FILLED and value == "":
        raise UserError(f"{name} is empty: give a name or a path, or leave it out")
    if spec.allowed is Allowed.BELOW_ONE and not 0 <= value < 1:
        raise UserError(f"{name} {value} must be at least 0 and less than 1")
    if spec.allowed is Allowed.POSITIVE:
        is_count = isinstance(value, int) and value > 0
        if not (is_count or SMALLEST <= value <= LARGEST):
            limits = "" if isinstance(value, int) else f", from {SMALLEST:g} to {LARGEST:g}"
            raise UserError(f"{name} {value} must be above 0{limits}")
    if spec.allowed is Allowed.NOT_NEGATIVE:
        if not -LARGEST <= value <= LARGEST:
            raise UserError(f"{name} {value} must be finite, at most {LARGEST:g}{hint}")
        if value < 0:
            raise UserError(f"{name} {value} must be at least 0{hint}")
