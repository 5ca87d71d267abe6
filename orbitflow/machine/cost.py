"""What passes and copies cost, from one profile; the planner and the simulator both ask here.

passes, all KV resident:        `orbitflow.machine.line_passes` or `pass_fit`
link, per direction:            t = sum over runs of (latency + run_bytes / bandwidth(run_bytes))
host, per layer:                t = KV bytes / rate, and for attention q's and o's way

A run is one contiguous copy: the full pages of one (request, layer).
Design section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.errors import UserError
from orbitflow.machine.line_passes import DecodeFit
from orbitflow.machine.pass_fit import PassTimes
from orbitflow.machine.profile import HostFit, LinkFit, Profile
from orbitflow.step import PrefillChunk


def _faster_link(link: LinkFit, scale: float) -> LinkFit:
    return replace(link, bytes_per_s=tuple(b * scale for b in link.bytes_per_s))


def _faster_host(host: HostFit, scale: float) -> HostFit:
    return HostFit(host.attention_bytes_per_s * scale, host.gather_bytes_per_s * scale)


def _slower_link(fit: LinkFit, factor: float) -> LinkFit:
    rates = tuple(b / factor for b in fit.bytes_per_s)
    return replace(fit, latency_s=fit.latency_s * factor, bytes_per_s=rates)


@dataclass(frozen=True, slots=True)
class CostModel:
    """Times in seconds for one model on one machine."""

    layers: int
    page_tokens: int
    page_bytes: int  # one layer, page_tokens tokens
    passes: PassTimes
    h2d: LinkFit
    d2h: LinkFit
    link_slowdown: float
    host: HostFit | None = None
    query_bytes: int = 0  # one request's q, or o, in one layer

    @classmethod
    def from_profile(
        cls, profile: Profile, *, link_scale: float = 1.0, compute_scale: float = 1.0
    ) -> CostModel:
        """Read a profile; the scales multiply the link's bandwidth and the speed of compute, on
        GPU and CPU.

        Raise a UserError for a scale that is not positive.
        """
        for name, scale in (("--link-scale", link_scale), ("--compute-scale", compute_scale)):
            if not 0 < scale < float("inf"):
                raise UserError(f"{name} {scale} must be a finite number above 0 (1 = as profiled)")
        model, host = profile.model, profile.host
        return cls(
            layers=model.layers,
            page_tokens=profile.page_tokens,
            page_bytes=profile.page_tokens * model.kv_bytes_per_token_per_layer,
            passes=profile.pass_times.slower(1 / compute_scale),
            h2d=_faster_link(profile.h2d, link_scale),
            d2h=_faster_link(profile.d2h, link_scale),
            link_slowdown=profile.link_slowdown,
            host=None if host is None else _faster_host(host, compute_scale),
            query_bytes=model.heads * model.head_dim * model.dtype_bytes,
        )

    def slower(self, *, compute: float = 1.0, link: float = 1.0) -> CostModel:
        """A machine whose compute and link take these times as long."""
        if compute == 1 and link == 1:
            return self
        return replace(
            self,
            passes=self.passes.slower(compute),
            h2d=_slower_link(self.h2d, link),
            d2h=_slower_link(self.d2h, link),
            host=None if self.host is None else _faster_host(self.host, 1 / compute),
        )

    @property
    def page_s(self) -> float:
        """Link seconds of a page of one layer, host to GPU, in the longest runs."""
        return self.page_bytes / float(self.h2d.bytes_per_s[-1])

    @property
    def context_s(self) -> float:
        """What a token of context adds to a decode pass."""
        return self.passes.context_s

    @property
    def outside_s(self) -> float:
        """The part of a pass outside the layers."""
        return self.passes.outside_s

    def decode_line(self, requests: float) -> DecodeFit:
        """The line by which planners price passes of up to so many requests."""
        return self.passes.line(requests)

    def decode_pass_s(self, requests: float, context_tokens: float) -> float:
        """Compute time of one decode pass with all KV on the GPU."""
        return self.passes.decode_s(requests, context_tokens)

    def chunk_s(self, tokens: int, prior: int) -> float:
        """Compute time that `tokens` prompt tokens behind `prior` add to a pass."""
        return self.passes.chunk_s(tokens, prior)

    def prefill_s(self, tokens: int) -> float:
        """Time of one isolated whole-prompt prefill."""
        return self.passes.lone_s + self.passes.chunk_s(tokens, 0)

    def prefills_s(self, tokens: IntArray) -> FloatArray:
        """Times of isolated whole-prompt prefills, shape as `tokens`."""
        return self.passes.prefills_s(tokens)

    def mixed_pass_s(
        self, chunks: Sequence[PrefillChunk], requests: int, context_tokens: float
    ) -> float:
        """Compute time of a pass with prefill chunks and, where requests > 0, decode."""
        return self.passes.mixed_s(chunks, requests, context_tokens)

    def new_pages(self, start: int, tokens: int) -> int:
        """Pages of one layer that a chunk of `tokens` behind `start` fills."""
        return (start + tokens) // self.page_tokens - start // self.page_tokens

    def full_pages(self, contexts: IntArray, passes: int) -> IntArray:
        """Immutable pages of one layer, summed over requests, by pass: shape (passes,).

        In pass j a request of context c has c - 1 + j tokens behind it, the full pages of which are
        on the host. Growth is periodic in the page, so this costs O(requests + passes), not their
        product.
        """
        behind = contexts - 1
        left = self.page_tokens - behind % self.page_tokens  # tokens until the next page is full
        crossed = np.cumsum(np.bincount(left, minlength=self.page_tokens + 1))
        j = np.arange(passes)
        pages: IntArray = (
            (behind // self.page_tokens).sum()
            + j // self.page_tokens * len(contexts)
            + crossed[j % self.page_tokens]
        )
        return pages

    def stream_s(
        self, contexts: IntArray, passes: int, share: float = 1.0
    ) -> tuple[FloatArray, FloatArray]:
        """Link seconds and bytes of one host layer of these requests, by pass: shapes (passes,).

        Of every request's full pages only `share` of the tokens cross the link.
        """
        total_bytes = self.stream_bytes(contexts, passes, share)
        if len(self.h2d.run_bytes) == 1:
            copies = total_bytes / self.h2d.bytes_per_s[0]
            if self.h2d.latency_s:
                missing = np.sort(self.page_tokens - (contexts - 1))  # tokens until there is a run
                copies += self.h2d.latency_s * missing.searchsorted(np.arange(passes), "right")
            return copies, total_bytes
        behind = contexts[None, :] - 1 + np.arange(passes)[:, None]  # (passes, requests)
        runs = behind // self.page_tokens * (self.page_bytes * share)
        rate = np.interp(runs, self.h2d.run_bytes, self.h2d.bytes_per_s)
        seconds: FloatArray = (runs / rate + self.h2d.latency_s * (runs > 0)).sum(axis=1)
        return seconds, total_bytes

    def stream_bytes(self, contexts: IntArray, passes: int, share: float = 1.0) -> FloatArray:
        """Bytes in `share` of the tokens of one host layer of these requests, shape (passes,)."""
        whole = self.full_pages(contexts, passes).astype(np.float64) * self.page_bytes
        return whole if share == 1 else np.floor(whole * share)

    def host_attention_s(self, kv_bytes: FloatArray, requests: int) -> FloatArray:
        """CPU time to attend to so much KV of one layer, q's way down and o's way up included."""
        seconds: FloatArray = kv_bytes / self._host.attention_bytes_per_s
        trip = requests * self.query_bytes
        return seconds + self.copy_s(self.d2h, trip) + self.copy_s(self.h2d, trip)

    def host_gather_s(self, kv_bytes: FloatArray) -> FloatArray:
        """CPU time to gather so much KV of one layer into one buffer."""
        seconds: FloatArray = kv_bytes / self._host.gather_bytes_per_s
        return seconds

    @property
    def _host(self) -> HostFit:
        assert self.host is not None, "Policy.bind refuses a profile without host rates"
        return self.host

    def copy_s(self, link: LinkFit, copied_bytes: float, runs: int = 1) -> float:
        """Time to move `copied_bytes` in `runs` equal runs over one direction of the link."""
        if copied_bytes <= 0:
            return 0.0
        rate = (
            link.bytes_per_s[0]
            if len(link.run_bytes) == 1
            else float(np.interp(copied_bytes / runs, link.run_bytes, link.bytes_per_s))
        )
        return runs * link.latency_s + copied_bytes / rate
