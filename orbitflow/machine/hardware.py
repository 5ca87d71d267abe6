"""GPUs by datasheet, and the roofline profile that follows for any model.

decode   base    = (layer + head weight bytes) / (0.8 · HBM) + 2 ms; the head's share is outside
         request = 2 · (layer + head parameters) / (0.5 · peak)
         token   = KV bytes per token · copies / (0.8 · HBM)
prefill  base    = 2 ms;  token = 2 · layer parameters / (0.5 · peak)
         pair    = 4 · layers · heads · head_dim / (0.5 · peak)
copy     3 µs per run, then the rate that good pinned copies reach over the link

n GPUs take n times the rates. With fewer KV heads than GPUs each head has n / kv_heads copies, each
read on its GPU (as vLLM and SGLang do).

Sources: each GPU's datasheet (data/hardware.json); 0.8 and 0.5 are what good kernels reach.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache

from orbitflow.codec import Count, Positive, decode, read_json
from orbitflow.errors import ProfileError, nearest
from orbitflow.machine.line_passes import DecodeFit, PrefillFit
from orbitflow.machine.model import ModelSpec
from orbitflow.machine.profile import PLANNER_LATENCY_S, HostFit, LinkFit, Profile, Provenance
from orbitflow.units import GIB

HBM_EFFICIENCY = 0.8
MFU = 0.5
PASS_OVERHEAD_S = 0.002
LINK_LATENCY_S = 3e-6
PAGE_TOKENS = 64
ANY_RUN_BYTES = (1048576.0,)
ASSUMED_HOST = HostFit(attention_bytes_per_s=60e9, gather_bytes_per_s=5e9)

ASSUMED_PREFILL = "prefill: roofline at 50 % of the dense bf16 peak; reading weights is hidden"
ASSUMED_REST = (
    "d2h: as fast as h2d",
    "link_slowdown: a busy link does not slow compute",
    "host: 60 GB/s for attention on the CPU and 5 GB/s for gathers, a common server",
    "planner_latency_s: 5 ms, not calibrated",
)
_SUMMED = "decode: reads at 80 % of HBM speed plus arithmetic at 50 % of the peak, no overlap"
_SHARDED = "gpus: work is split evenly with no time for communication; all share one host link"
_REPEATED = (
    "gpus: {} KV heads on {} GPUs are repeated, {} copies of each: all take memory and are read; "
    "the host keeps and the link carries one; the weights of k and v count once"
)


@dataclass(frozen=True, slots=True)
class Gpu:
    """A row of the hardware table. `link_gb_per_s` is what a good pinned copy reaches one way."""

    name: str
    device: str
    memory_gib: Positive
    hbm_gb_per_s: Positive
    bf16_dense_tflops: Positive
    link: str
    link_gb_per_s: Positive
    source: str


@dataclass(frozen=True, slots=True)
class HardwareTable:
    """The GPUs of data/hardware.json and the day they were checked against their datasheets."""

    checked: str
    gpus: tuple[Gpu, ...]


@dataclass(frozen=True, slots=True)
class GpuNode:
    """A GPU model, several of them side by side, each with its share of every layer."""

    gpu: Gpu
    gpus: Count = 1

    @property
    def memory_bytes(self) -> int:
        """Memory of all GPUs."""
        return round(self.gpus * self.gpu.memory_gib * GIB)

    @property
    def read_bytes_per_s(self) -> float:
        """Rate at which weights and KV are read from the GPUs' own memory."""
        return self.gpus * self.gpu.hbm_gb_per_s * 1e9 * HBM_EFFICIENCY

    @property
    def flops_per_s(self) -> float:
        """Rate at which long matrix products run."""
        return self.gpus * self.gpu.bf16_dense_tflops * 1e12 * MFU

    def decode_fit(self, model: ModelSpec) -> DecodeFit:
        """Bound a decode pass by what it must read and compute."""
        layers = model.layers * model.layer_parameters
        active = layers + model.head_parameters
        base_s = active * model.dtype_bytes / self.read_bytes_per_s + PASS_OVERHEAD_S
        return DecodeFit(
            base_s=base_s,
            request_s=2 * active / self.flops_per_s,
            token_s=model.kv_bytes_per_token * model.kv_copies(self.gpus) / self.read_bytes_per_s,
            outside_s=base_s * model.head_parameters / active,
        )

    def prefill_fit(self, model: ModelSpec) -> PrefillFit:
        """Bound a prefill by its arithmetic; the head sees the last token only and is left out."""
        return PrefillFit(
            base_s=PASS_OVERHEAD_S,
            token_s=2 * model.layers * model.layer_parameters / self.flops_per_s,
            pair_s=4 * model.layers * model.heads * model.head_dim / self.flops_per_s,
        )


@cache
def hardware_table() -> HardwareTable:
    """Read the GPUs that roofline profiles exist for."""
    path = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "hardware.json")
    return decode(HardwareTable, read_json(path))


def find_gpu(name: str) -> Gpu:
    """Look a GPU up. Raise a ProfileError with the nearest names if it is not in the table."""
    gpus = {gpu.name: gpu for gpu in hardware_table().gpus}
    if name not in gpus:
        raise ProfileError(f"no GPU {name!r} in the hardware table: {nearest(name, gpus)}")
    return gpus[name]


def roofline(name: str, machine: GpuNode, model: ModelSpec) -> Profile:
    """Derive a profile from the datasheet. Raise a ProfileError if the heads cannot be split."""
    gpu, gpus = machine.gpu, machine.gpus
    if model.heads % gpus:
        raise ProfileError(
            f"{model.name} has {model.heads} heads, no multiple of {gpus} GPUs: take a divisor"
        )
    if model.kv_heads % gpus and gpus % model.kv_heads:
        raise ProfileError(
            f"{model.name} has {model.kv_heads} KV heads, which can be neither split over nor "
            f"repeated on {gpus} GPUs: take a divisor or a multiple of {model.kv_heads}"
        )
    copies = model.kv_copies(gpus)
    link = LinkFit(LINK_LATENCY_S, ANY_RUN_BYTES, (gpu.link_gb_per_s * 1e9,))
    return Profile(
        name=name,
        model=model,
        gpu_memory_bytes=machine.memory_bytes,
        gpus=gpus,
        weight_bytes=model.weight_bytes,
        page_tokens=PAGE_TOKENS,
        decode=machine.decode_fit(model),
        prefill=machine.prefill_fit(model),
        h2d=link,
        d2h=link,
        link_slowdown=0.0,
        host=ASSUMED_HOST,
        planner_latency_s=PLANNER_LATENCY_S,
        host_memory_bytes=None,
        provenance=Provenance(
            device=f"{gpus} x {gpu.device}, {gpu.link}",
            model=model.name,
            date=hardware_table().checked,
            software="none: computed, never measured",
            method="roofline",
            source=gpu.source,
        ),
        errors=(),
        simplified=(
            _SUMMED,
            ASSUMED_PREFILL,
            f"h2d: {gpu.link_gb_per_s:g} GB/s and 3 µs per run, usual for {gpu.link}",
            *ASSUMED_REST,
            *((_SHARDED,) if gpus > 1 else ()),
            *((_REPEATED.format(model.kv_heads, gpus, copies),) if copies > 1 else ()),
        ),
    )
