"""How much KV the device holds: asked of its allocator, not computed from a data sheet.

    CUDA: 90 % of what is free beside the weights, less a workspace, tried out page pool and all
    CPU:  what the emulated device is said to hold, 4096 tokens unless told otherwise

The pool is allocated once to see whether it is there; what does not fit is tried 5 % smaller.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from orbitflow.backend.machine import BackendMachine
from orbitflow.backend.model.checkpoint import LoadedModel
from orbitflow.backend.model.decoder import Decoder
from orbitflow.calibrate.runner import is_out_of_memory
from orbitflow.errors import UserError
from orbitflow.machine.profile import USABLE_SHARE, WORKSPACE_BYTES
from orbitflow.units import format_bytes

EMULATED_KV_TOKENS = 4096
_SMALLER = 0.95


class Capacity(NamedTuple):
    """KV tokens that fit, in whole pages; the memory of the whole device; how it was found."""

    tokens: int
    device_bytes: int
    origin: str


def find_capacity(
    model: LoadedModel, machine: BackendMachine, decoder: Decoder, wanted_tokens: int | None
) -> Capacity:
    """Ask the machine. Raise a UserError if `wanted_tokens`, or a single page, is not there."""
    shape = machine.shape(decoder)
    page_bytes = decoder.layers * shape.page_bytes
    spec = model.architecture.spec
    free = machine.free_bytes()
    if free is None:
        pages = (wanted_tokens or EMULATED_KV_TOKENS) // shape.page_tokens
        needed = spec.weight_bytes + WORKSPACE_BYTES + (pages + 1) * page_bytes
        origin = f"KV capacity: an emulated device of {pages * shape.page_tokens} tokens"
        device_bytes = int(needed / USABLE_SHARE)
    else:
        pages = int((USABLE_SHARE * free - WORKSPACE_BYTES) // page_bytes)
        if wanted_tokens is not None:
            pages = min(pages, wanted_tokens // shape.page_tokens)
        pages = _allocatable(machine.device, pages, page_bytes)
        origin = "KV capacity: allocated, 1 GiB and a tenth of what was free left alone"
        device_bytes = int(torch.cuda.get_device_properties(machine.device).total_memory)
    if pages < 1:
        raise UserError(
            f"not one page of {format_bytes(page_bytes)} of {spec.name}'s KV fits beside its "
            "weights: take a smaller model, or raise --kv-capacity-tokens"
        )
    return Capacity(pages * shape.page_tokens, device_bytes, origin)


def _allocatable(device: torch.device, pages: int, page_bytes: int) -> int:
    """The largest pool of at most so many pages that the allocator gives."""
    while pages >= 1:
        try:
            torch.empty(pages * page_bytes, dtype=torch.uint8, device=device)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            pages = int(pages * _SMALLER)
        else:
            break
    torch.cuda.empty_cache()
    return pages
