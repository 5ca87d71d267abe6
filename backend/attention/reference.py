"""Attention of one request over keys and values that lie in pieces: the reference on any device.

    attention(q, K, V) = softmax(q Kᵀ / √d) V,   K = [K_1; K_2; ...] in the order of tokens

Invariant: the result depends only on the values, bit for bit, and not on how they are cut into
pages or where these lie. So pieces are first joined in one buffer, and one kernel with one shape
runs over it. Query heads that share a KV head are folded into the query's length, which reads each
key once (on a CPU 2.4 times the speed of `enable_gqa` in fp32, 12 times in bf16).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right

_ALIGNMENT = 64


class CpuPages:
    """The pages of a pool on the CPU, [pages, 2, t, Hkv, d], to be gathered from.

    numpy gathers scattered rows at the speed of memory; torch costs microseconds for each page
    (measured: 86 us against 175 for 62 pages, both K and V).
    """

    def __init__(self, storage: Tensor) -> None:
        self.page_shape = storage.shape[2:]
        self.dtype = storage.dtype
        # Of page p the keys are row 2 p, the values row 2 p + 1.
        self.halves = _rows(storage.view(-1, *self.page_shape))


@dataclass(frozen=True, slots=True)
class Gathered:
    """Whole pages of a pool, in order."""

    pages: CpuPages
    numbers: npt.NDArray[np.int64]

    @property
    def tokens(self) -> int:
        """Tokens in all of them."""
        return len(self.numbers) * self.pages.page_shape[0]

    def copy_to(self, keys: Tensor, values: Tensor) -> None:
        """Lay keys and values, [tokens, Hkv, d] each, into contiguous room."""
        halves, shape = self.pages.halves, (len(self.numbers), -1)
        for part, places in ((keys, 2 * self.numbers), (values, 2 * self.numbers + 1)):
            np.take(halves, places, axis=0, out=_rows(part).reshape(shape), mode="clip")


# Keys and values of successive tokens, any views: [t, Hkv, d], or whole pages [pages, t, Hkv, d].
Views = tuple[Tensor, Tensor]
Segment = Views | Gathered


class Scratch:
    """Memory in which pieces are joined. It is kept between calls, because fresh memory costs page
    faults. Results of attention never alias it.
    """

    def __init__(self) -> None:
        self._room: Views | None = None

    def join(self, segments: Sequence[Segment]) -> Views:
        """Join the pieces in order. A single contiguous, aligned piece is returned as it is."""
        first = segments[0]
        if len(segments) == 1 and not isinstance(first, Gathered) and all(map(_is_plain, first)):
            return first
        sizes = [_tokens(segment) for segment in segments]
        tokens = sum(sizes)
        if self._room is None or not _holds(self._room[0], tokens, first):
            self._room = _room(first, 1 << (tokens - 1).bit_length())
        k, v = (room[:tokens] for room in self._room)
        places = zip(k.split_with_sizes(sizes), v.split_with_sizes(sizes), segments, strict=True)
        for keys, values, segment in places:
            if isinstance(segment, Gathered):
                segment.copy_to(keys, values)
            else:
                keys.view_as(segment[0]).copy_(segment[0])
                values.view_as(segment[1]).copy_(segment[1])
        return k, v


def decode_attention(
    q: Tensor, segments: Sequence[Segment], scratch: Scratch | None = None
) -> Tensor:
    """Attend with one token's `q` [H, d] to all tokens of `segments`; return [H, d]."""
    k, v = (scratch or Scratch()).join(segments)
    folded = q.reshape(1, k.shape[1], -1, q.shape[-1])  # successive heads share a KV head
    attended = F.scaled_dot_product_attention(folded, _heads_first(k), _heads_first(v))
    return attended.reshape(q.shape)


def prefill_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    prior: Sequence[Segment] = (),
    scratch: Scratch | None = None,
) -> Tensor:
    """Attend with T successive tokens, each to all of `prior`, to the tokens before it and itself.

    `q` is [T, H, d], the new `k` and `v` are [T, Hkv, d]; return [T, H, d].
    """
    keys, values = (scratch or Scratch()).join([*prior, (k, v)])
    mask = causal_lower_right(len(q), len(keys)) if prior else None
    attended = F.scaled_dot_product_attention(
        *(_heads_first(q), _heads_first(keys), _heads_first(values)),
        attn_mask=mask,
        is_causal=mask is None,
        enable_gqa=True,
    )
    return attended[0].transpose(0, 1)


def _heads_first(part: Tensor) -> Tensor:
    """[t, heads, d] as [1, heads, t, d]."""
    return part.transpose(0, 1)[None]


def _is_plain(part: Tensor) -> bool:
    """Contiguous, and aligned as fresh memory is: the kernel sees what it would see in scratch."""
    return part.dim() == 3 and part.is_contiguous() and part.data_ptr() % _ALIGNMENT == 0


def _tokens(segment: Segment) -> int:
    return segment.tokens if isinstance(segment, Gathered) else segment[0].shape[:-2].numel()


def _room(like: Segment, tokens: int) -> Views:
    """Fresh room for so many tokens of that kind."""
    if isinstance(like, Gathered):
        sizes, dtype, device = like.pages.page_shape[1:], like.pages.dtype, torch.device("cpu")
    else:
        sizes, dtype, device = like[0].shape[-2:], like[0].dtype, like[0].device
    k, v = (torch.empty((tokens, *sizes), dtype=dtype, device=device) for _ in range(2))
    return k, v


def _holds(room: Tensor, tokens: int, like: Segment) -> bool:
    if isinstance(like, Gathered):
        same = room.dtype == like.pages.dtype and not room.is_cuda
        return same and room.shape[-2:] == like.pages.page_shape[1:] and room.shape[0] >= tokens
    same = room.dtype == like[0].dtype and room.device == like[0].device
    return same and room.shape[-2:] == like[0].shape[-2:] and room.shape[0] >= tokens


def _rows(part: Tensor) -> npt.NDArray[Any]:
    """The same memory as numpy sees it, one row for each of the first axis; numpy has no bf16."""
    plain = part.view(torch.int16) if part.dtype == torch.bfloat16 else part
    rows: npt.NDArray[Any] = plain.numpy().reshape(len(plain), -1)
    return rows
