"""Is the link hidden behind compute, and compute near memory's speed? Ratios, each from one run.

    .venv/bin/python -m benchmarks.backend_speed [--device cuda:0] [--json FILE]

A batch with random KV decodes through the real executor, everything resident, then with so much on
the host that transfer / compute is 0.5, 0.9 and 1.5:    ideal pass = max(compute, transfer).
Both alternate in rounds; medians over rounds of each round's ratio are shown, because absolute
times depend on who else uses the machine. On a CPU one thread computes and the link is emulated (at
most 0.5 GB/s); the rows without a bar there only rehearse what is asked of a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch

from benchmarks.backend_batch import Batch, Passes, compute_stream, forget, seconds
from orbitflow.backend.clock import WallClock
from orbitflow.backend.kv.pool import page_copies
from orbitflow.backend.link.channel import WorkerChannel
from orbitflow.backend.machine import BackendMachine, find_machine
from orbitflow.backend.model.architecture import FAMILIES, Architecture, Rope, read_architecture
from orbitflow.backend.model.checkpoint import LoadedModel
from orbitflow.backend.model.decoder import Decoder
from orbitflow.backend.model.weights import random_weights
from orbitflow.machine.model import ModelSpec
from orbitflow.placement import HostLayers
from orbitflow.units import GIB, MIB

RATIOS = (0.5, 0.9, 1.5)
WARM_PASSES = 4  # until what the ring had before is used up


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured on a device. A bar of None is not asked there."""

    contexts: tuple[int, ...]
    long_contexts: tuple[int, ...] | None
    most_link_bytes_per_s: float | None  # of an emulated link
    rounds: int
    passes: int
    pass_bar: float
    link_bar: float
    touch_bars: tuple[float | None, float | None]  # pass over bytes / bandwidth, by contexts
    attention_bar: float | None
    buffer_bytes: int


CPU = Plan((1500, 2500, 3500), None, 0.5e9, 7, 8, 1.10, 0.95, (None, None), None, 64 * MIB)
CUDA = Plan((8192,) * 4, (65536,) * 4, None, 7, 30, 1.07, 0.85, (2.0, 1.3), 0.7, GIB)


OWN = Architecture(
    spec=ModelSpec(
        name="own", layers=8, hidden_size=512, heads=8, kv_heads=4, head_dim=64,
        intermediate_size=1408, vocab_size=2048, tied_embeddings=True, dtype_bytes=4,
        max_context_tokens=8192,
    ),
    family=FAMILIES["llama"], rope=Rope(10_000.0), norm_eps=1e-5, dtype="float32",
)  # fmt: skip


class Row(NamedTuple):
    """One number. `bar` is the most, or the least if `at_least`, that is asked."""

    what: str
    value: float | None
    bar: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether the bar is met."""
        if self.bar is None or self.value is None:
            return ""
        return "yes" if (self.value >= self.bar) == self.at_least else "NO"


def spread(units: int, layers: int, batch: int) -> tuple[HostLayers, ...]:
    """Put that many (request, layer) pairs on the host, in layers as evenly spaced as can be."""
    used = -(-units // batch)
    chosen = [(2 * i + 1) * layers // (2 * used) for i in range(used)]
    return tuple(
        tuple(layer for i, layer in enumerate(chosen) if i * batch + request < units)
        for request in range(batch)
    )


def host_bytes(decoder: Decoder, contexts: tuple[int, ...], host: tuple[HostLayers, ...]) -> int:
    """Bytes that a pass streams, about."""
    tokens = sum(n * len(layers) for n, layers in zip(contexts, host, strict=True))
    return tokens * decoder.architecture.spec.kv_bytes_per_token_per_layer


def link_rates(machine: BackendMachine, decoder: Decoder, plan: Plan) -> tuple[float, float]:
    """Bytes per second of one plain pinned copy, and of KV pages through the plane."""
    shape = machine.shape(decoder)
    count = plan.buffer_bytes // shape.page_bytes
    clock = WallClock()
    plane = machine.plane(shape, count, count, clock)
    source, target = plane.host.storage, plane.device.storage
    size = count * shape.page_bytes
    plain_s = seconds(machine, lambda: target.copy_(source, non_blocking=True))
    run = max(1, min(plan.contexts) // shape.page_tokens)  # pages of one request lie together
    order = [range(i, min(i + run, count)) for i in range(0, count, run)]
    pairs = [(page, page) for pages in order[::-1] for page in pages]
    began_s = clock.now_s()
    for _ in range(3):
        plane.up.submit(list(page_copies(source, target, pairs)))
    plane.up.drain()
    paged_s = (clock.now_s() - began_s) / 3
    plane.close()
    return size / plain_s, size / paged_s


def stream(
    machine: BackendMachine,
    decoder: Decoder,
    plan: Plan,
    resident: Batch,
    ratio: float,
    link: float,
) -> Iterator[Row]:
    """Passes with part of the KV on the host beside passes without, in rounds."""
    most, batch = WARM_PASSES + plan.passes + 2, len(plan.contexts)
    compute_s = median(resident.decode(plan.passes).pass_s for _ in range(3))
    wanted = ratio * compute_s * link
    places = [spread(n, decoder.layers, batch) for n in range(1, decoder.layers * batch + 1)]
    fitting = [p for p in places if host_bytes(decoder, plan.contexts, p) <= wanted]
    host = fitting[-1] if fitting else places[0]
    rate = link
    if machine.is_cpu:
        rate = host_bytes(decoder, plan.contexts, host) / (ratio * compute_s)
        machine = replace(machine, link_bytes_per_s=rate)
    streaming = Batch(machine, decoder, plan.contexts, plan.rounds * most, host)
    pairs: list[tuple[float, Passes]] = []
    busier: list[float] = []
    for _ in range(plan.rounds):
        plain = resident.decode(plan.passes)
        streaming.decode(WARM_PASSES)
        streamed = streaming.decode(plan.passes)
        pairs.append((plain.pass_s, streamed))
        busier.append(streamed.cpu_s / plain.cpu_s)
        streaming.plane.up.drain()
    label = f"transfer/compute {ratio:g}"
    transfers = [streamed.link_bytes / rate for _, streamed in pairs]
    got = median(x / c for x, (c, _) in zip(transfers, pairs, strict=True))
    ideal = [s.pass_s / max(c, x) for x, (c, s) in zip(transfers, pairs, strict=True)]
    units = sum(map(len, host))
    note = (
        f"{got:.2f} got; {units} of {decoder.layers * batch} on the host, {rate / 1e9:.3g} GB/s; "
        f"ms: compute {median(c for c, _ in pairs) * 1e3:.4g}, "
        f"transfer {median(transfers) * 1e3:.4g}, "
        f"pass {median(s.pass_s for _, s in pairs) * 1e3:.4g}"
    )
    yield Row(f"{label}: pass / max(compute, transfer)", median(ideal), plan.pass_bar, note=note)
    spans = f"{min(ideal):.3f} to {max(ideal):.3f}"
    yield Row("    the same, least and most of the rounds", None, note=spans)
    serial = [s.pass_s / (c + x) for x, (c, s) in zip(transfers, pairs, strict=True)]
    yield Row("    pass / (compute + transfer)", median(serial))
    yield Row("    stall / pass", median(s.stall_s / s.pass_s for _, s in pairs))
    if isinstance(streaming.plane.up, WorkerChannel):
        yield Row("    CPU time of the computing thread / resident", median(busier))
        shares = [s.link_share for _, s in pairs if s.link_share is not None]
        yield Row("    link bytes/s while busy / nominal", median(shares), plan.link_bar, True)
        late_ms = streaming.plane.up.latest_s * 1e3
        yield Row("    virtual clock at most late, ms", late_ms)
    streaming.close()
    del streaming
    forget()


def touch(
    machine: BackendMachine,
    decoder: Decoder,
    batch: Batch,
    bandwidth: float,
    plan: Plan,
    bar: float | None,
) -> Iterator[Row]:
    """A resident pass, and attention alone, beside the bytes that they read."""
    spec, tokens = decoder.architecture.spec, sum(batch.contexts)
    weights = (spec.layers * spec.layer_parameters + spec.head_parameters) * spec.dtype_bytes
    pass_s = median(batch.decode(plan.passes).pass_s for _ in range(3))
    kv = tokens * spec.kv_bytes_per_token
    label = f"{len(batch.contexts)} x {tokens // len(batch.contexts)} tokens"
    ideal_s = (weights + kv) / bandwidth
    note = f"pass {pass_s * 1e3:.4g} ms, {(weights + kv) / 1e9:.3g} GB"
    yield Row(f"{label}: pass x bandwidth / bytes touched", pass_s / ideal_s, bar, note=note)
    ids = tuple(range(len(batch.contexts)))
    q = torch.randn(len(ids), spec.heads, spec.head_dim, device=decoder.device).to(decoder.dtype)
    positions = torch.tensor(batch.contexts, device=decoder.device) - 1

    def attend() -> None:
        with torch.inference_mode():
            batch.executor.attention.begin_pass(ids, positions)
            for layer in range(spec.layers):
                batch.executor.attention(layer, q)

    attend()
    share = kv / seconds(machine, attend) / bandwidth
    is_long = plan.long_contexts in (None, batch.contexts)
    yield Row(
        f"{label}: attention's share of the bandwidth",
        share, plan.attention_bar if is_long else None, True,
    )  # fmt: skip


def measure(machine: BackendMachine, plan: Plan, architecture: Architecture) -> Iterator[Row]:
    """All rows of a device."""
    weights = random_weights(architecture, 0, machine.device)
    model, size = LoadedModel(architecture, weights, None), plan.buffer_bytes
    decoder = machine.decoder(model)
    plain, paged = link_rates(machine, decoder, plan)
    link, what = paged, "KV pages over the link / plain pinned copy"
    if machine.link_bytes_per_s is not None:
        link, what = machine.link_bytes_per_s, "KV pages over the emulated link / nominal"
    yield Row("plain copy from host to device, GB/s", plain / 1e9)
    yield Row(what, paged / (link if machine.is_cpu else plain), plan.link_bar, True)
    there, back = (torch.empty(size, dtype=torch.uint8, device=machine.device) for _ in range(2))
    bandwidth = 2 * size / seconds(machine, lambda: back.copy_(there))
    yield Row("device copies, read and written, GB/s", bandwidth / 1e9)
    passes = (3 * (plan.rounds + 3) + 8) * (plan.passes + 1)
    resident = Batch(machine, decoder, plan.contexts, passes)
    resident.decode(WARM_PASSES)
    for ratio in RATIOS:
        yield from stream(machine, decoder, plan, resident, ratio, link)
    yield from touch(machine, decoder, resident, bandwidth, plan, plan.touch_bars[0])
    resident.close()
    if plan.long_contexts is not None:
        del resident
        forget()
        kv_bytes = sum(plan.long_contexts) * architecture.spec.kv_bytes_per_token
        free = machine.free_bytes()
        if free is not None and 1.05 * kv_bytes > free:
            note = f"not measured: {kv_bytes / GIB:.3g} GiB of KV exceed {free / GIB:.3g} GiB"
            yield Row(f"contexts of {plan.long_contexts[0]} tokens", None, note=note)
            return
        long = Batch(machine, decoder, plan.long_contexts, 5 * (plan.passes + 1))
        long.decode(WARM_PASSES)
        yield from touch(machine, decoder, long, bandwidth, plan, plan.touch_bars[1])
        long.close()


def show(row: Row) -> None:
    """Print a line of the table."""
    value = "" if row.value is None else f"{row.value:.3f}"
    bar = "" if row.bar is None else f"{'>=' if row.at_least else '<='} {row.bar:g}"
    print(f"{row.what:<52}{value:>10}{bar:>9}{row.verdict:>5}  {row.note}".rstrip(), flush=True)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="write the numbers there")
    given = parser.parse_args()
    if given.device != "cpu" and not torch.cuda.is_available():
        print("not measured: no GPU")
        return
    is_cpu = given.device == "cpu"
    machine = find_machine(given.device, CPU.most_link_bytes_per_s if is_cpu else None)
    load = os.getloadavg()[0]
    head = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "device": machine.name,
        "torch": torch.__version__,
    }
    print(*(f"{key}: {value}" for key, value in head.items()), sep="\n")
    print(f"load average: {load:.2f} of {os.cpu_count()} cores")
    print(f"{'ratios of one run':<52}{'measured':>10}{'asked':>9}{'met':>5}")
    rows = []
    with compute_stream(machine):
        plan = CPU if is_cpu else CUDA
        for row in measure(machine, plan, OWN if is_cpu else read_architecture("llama-3.1-8b")):
            rows.append(row)
            show(row)
    loads = [load, os.getloadavg()[0]]
    print(f"load average at the end: {loads[1]:.2f}")
    if given.json is not None:
        found = {**head, "load": loads, "rows": [row._asdict() for row in rows]}
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
