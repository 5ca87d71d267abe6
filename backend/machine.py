"""The device that the backend serves on: found by name, and what is built on it.

`cpu` is a CPU that plays a GPU: its "device memory" is a pool of its own in RAM, and the link
between that pool and the host's is paced to `link_bytes_per_s`. `cuda:N` is a GPU and its real
link. Everything on the CPU runs on one thread, because more would wait for the copying threads at
every barrier.
"""

from __future__ import annotations

import gc
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from orbitflow.backend.clock import Clock
from orbitflow.backend.kv.plane import Plane, cpu_plane, cuda_plane
from orbitflow.backend.kv.pool import Notice, PageShape
from orbitflow.backend.link.channel import DEFAULT_BYTES_PER_S, TransferSink
from orbitflow.backend.model.checkpoint import LoadedModel
from orbitflow.backend.model.decoder import DECODE_ROWS, Decoder
from orbitflow.errors import UserError
from orbitflow.units import format_bytes

CPU_PAGE_TOKENS, CUDA_PAGE_TOKENS = 32, 64
CUDA_DECODE_ROWS = 64
SLOWEST_BYTES_PER_S = 1e7


@dataclass(frozen=True, slots=True)
class Machine:
    """A device, ready for use. `link_bytes_per_s` is the emulated link's, and None on a GPU."""

    device: torch.device
    link_bytes_per_s: float | None

    @property
    def is_cpu(self) -> bool:
        """Whether the CPU plays the device."""
        return self.device.type == "cpu"

    @property
    def name(self) -> str:
        """What it is, for people and for profiles."""
        if not self.is_cpu:
            return torch.cuda.get_device_name(self.device)
        assert self.link_bytes_per_s is not None
        rate = f"{self.link_bytes_per_s / 1e9:.3g} GB/s"
        return f"one thread of {_cpu_name()}, emulated link of {rate}"

    @property
    def page_tokens(self) -> int:
        """Tokens per page."""
        return CPU_PAGE_TOKENS if self.is_cpu else CUDA_PAGE_TOKENS

    def shape(self, decoder: Decoder, page_tokens: int | None = None) -> PageShape:
        """A page of that model's KV."""
        size = page_tokens or self.page_tokens
        return PageShape(size, decoder.kv_heads, decoder.head_dim, decoder.dtype)

    def decoder(self, model: LoadedModel) -> Decoder:
        """The computation. On a GPU, where rows cost little, more of them make a block."""
        rows = DECODE_ROWS if self.is_cpu else CUDA_DECODE_ROWS
        return Decoder(model.architecture, model.weights, rows)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Where planes are made and passes run: on a GPU a stream that goes before the copies."""
        if self.is_cpu:
            yield
            return
        torch.cuda.synchronize(self.device)  # weights came on the default stream
        with torch.cuda.stream(torch.cuda.Stream(self.device, priority=-1)):
            yield
        torch.cuda.synchronize(self.device)

    def plane(
        self,
        shape: PageShape,
        device_pages: int,
        host_pages: int,
        clock: Clock,
        *,
        notice: Notice | None = None,
        sink: TransferSink | None = None,
    ) -> Plane:
        """Pools and channels. Raise a UserError if one of the pools does not fit."""
        self._refuse_too_large(device_pages * shape.page_bytes)
        if self.is_cpu:
            rate = self.link_bytes_per_s
            return cpu_plane(
                shape, device_pages, host_pages, clock, link_bytes_per_s=rate, sink=sink
            )
        return cuda_plane(
            shape, device_pages, host_pages, clock, self.device, sink=sink, notice=notice
        )

    def release(self) -> None:
        """Give back the memory of planes that nobody uses any more; they may be in cycles."""
        gc.collect()
        if not self.is_cpu:
            torch.cuda.empty_cache()

    def free_bytes(self) -> int | None:
        """Device memory that is free; None where the CPU plays the device."""
        return None if self.is_cpu else int(torch.cuda.mem_get_info(self.device)[0])

    def _refuse_too_large(self, wanted_bytes: int) -> None:
        free = self.free_bytes()
        if free is not None and wanted_bytes > free:
            raise UserError(
                f"a KV pool of {format_bytes(wanted_bytes)} exceeds the {format_bytes(free)} that "
                f"are free on {self.device}: lower --kv-capacity-tokens"
            )


def find_machine(name: str, link_bytes_per_s: float | None = None) -> Machine:
    """Find `cpu`, `cuda` or `cuda:N`, and set torch up for it.

    Raise a UserError if there is no such device, or if a real link is given a rate.
    """
    if link_bytes_per_s is not None and link_bytes_per_s < SLOWEST_BYTES_PER_S:
        raise UserError(
            f"--link-bandwidth {link_bytes_per_s / 1e9:g} GB/s is below what the backend waits "
            f"for: take at least {SLOWEST_BYTES_PER_S / 1e9:g} GB/s"
        )
    if name == "cpu":
        torch.set_num_threads(1)
        return Machine(torch.device("cpu"), link_bytes_per_s or DEFAULT_BYTES_PER_S)
    kind, _, index = name.partition(":")
    if kind != "cuda" or (":" in name and not (index.isascii() and index.isdigit())):
        raise UserError(f"--device {name} is unknown: use cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        why = "has no CUDA" if torch.version.cuda is None else "finds no GPU"
        raise UserError(f"--device {name}: torch {torch.__version__} {why}: use --device cpu")
    count, number = torch.cuda.device_count(), int(index[:9] or 0)
    if number >= count:
        raise UserError(f"--device {name}: there are {count} GPUs, 0 to {count - 1}: name one")
    if link_bytes_per_s is not None:
        raise UserError("--link-bandwidth paces the emulated link: leave it out on a GPU")
    return Machine(torch.device("cuda", number), None)


def _cpu_name() -> str:
    """The processor's name where Linux tells it."""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
