"""Decode attention on a GPU, for the whole batch, straight from the pages: split-KV in Triton.

    split s of a request: o_s = softmax(q K_sᵀ / √d) V_s,  lse_s = log Σ exp(q K_sᵀ / √d)
    all of it:            o = Σ o_s exp(lse_s − lse),      lse = log Σ exp(lse_s)

(Flash-Decoding, Dao et al. 2023; pages as in vLLM, Kwon et al. 2023.) Splits are of SPLIT_TOKENS
tokens whatever the batch, and merged in order, so a request's result depends on that request only.
The query heads that share a KV head are one block of rows: each key is read once. Pages lie in one
tensor (pages, 2, page_tokens, kv_heads, head_dim); a table names them in order. On a CPU it runs
in Triton's interpreter (TRITON_INTERPRET=1), for tests.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

SPLIT_TOKENS = 512
_BLOCK_TOKENS = 64
_LEAST_ROWS = 16  # of a matrix product on tensor cores


def paged_decode_attention(q: Tensor, storage: Tensor, tables: Tensor, contexts: Tensor) -> Tensor:
    """Attend with one token each of B requests; return what `q` is shaped like, [B, H, d].

    Row b of `tables` [B, pages], int32, names the pages of request b, which holds `contexts` [B],
    int32, tokens, at least one. Entries after the last page are never read. The call does not wait
    for the device: the number of programs follows from shapes alone.
    """
    requests, heads, head_dim = q.shape
    _, _, page_tokens, kv_heads, _ = storage.shape
    splits = math.ceil(tables.shape[1] * page_tokens / SPLIT_TOKENS)
    partial = torch.empty((requests, heads, splits, head_dim), dtype=torch.float32, device=q.device)
    lse = torch.empty((requests, heads, splits), dtype=torch.float32, device=q.device)
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    block_dim = triton.next_power_of_2(head_dim)
    _attend_to_split[(requests, kv_heads, splits)](
        *(q.contiguous(), storage, tables, contexts, partial, lse),
        head_dim**-0.5,
        *(tables.stride(0), splits),
        PAGE_TOKENS=page_tokens,
        KV_HEADS=kv_heads,
        GROUP=heads // kv_heads,
        HEAD_DIM=head_dim,
        SPLIT=SPLIT_TOKENS,
        BLOCK=_BLOCK_TOKENS,
        BLOCK_ROWS=max(_LEAST_ROWS, triton.next_power_of_2(heads // kv_heads)),
        BLOCK_DIM=block_dim,
        num_warps=4,
        num_stages=3,
        enable_fp_fusion=True,
    )
    _merge_splits[(requests, heads)](
        *(partial, lse, contexts, out, splits),
        HEADS=heads,
        HEAD_DIM=head_dim,
        SPLIT=SPLIT_TOKENS,
        BLOCK_DIM=block_dim,
        num_warps=1,
        enable_fp_fusion=True,
    )
    return out


@triton.jit(do_not_specialize=["table_stride", "splits"])  # type: ignore[untyped-decorator]
def _attend_to_split(
    q_at: tl.tensor,
    storage_at: tl.tensor,
    tables_at: tl.tensor,
    contexts_at: tl.tensor,
    partial_at: tl.tensor,
    lse_at: tl.tensor,
    scale: tl.tensor,
    table_stride: tl.tensor,
    splits: tl.tensor,
    PAGE_TOKENS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    SPLIT: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
) -> None:
    """One program: one request, one KV head, one split; softmax as it goes along, in fp32."""
    request, kv_head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    context = tl.load(contexts_at + request)
    start = split * SPLIT
    if start >= context:
        return
    end = tl.minimum(start + SPLIT, context)
    rows, dims = tl.arange(0, BLOCK_ROWS), tl.arange(0, BLOCK_DIM)
    heads = (request * KV_HEADS + kv_head) * GROUP + rows  # of all requests' heads
    is_head, is_dim = rows < GROUP, dims < HEAD_DIM
    q = tl.load(
        q_at + heads[:, None] * HEAD_DIM + dims[None, :],
        mask=is_head[:, None] & is_dim[None, :],
        other=0.0,
    )
    largest = tl.full((BLOCK_ROWS,), float("-inf"), tl.float32)
    weight = tl.zeros((BLOCK_ROWS,), tl.float32)
    summed = tl.zeros((BLOCK_ROWS, BLOCK_DIM), tl.float32)
    for first in range(start, end, BLOCK):
        tokens = first + tl.arange(0, BLOCK)
        is_token = tokens < end
        page = tl.load(
            tables_at + request * table_stride + tokens // PAGE_TOKENS, mask=is_token, other=0
        ).to(tl.int64)
        k_row = (page * (2 * PAGE_TOKENS) + tokens % PAGE_TOKENS) * KV_HEADS + kv_head
        v_row = k_row + PAGE_TOKENS * KV_HEADS
        inside = is_token[:, None] & is_dim[None, :]
        k = tl.load(
            storage_at + k_row[:, None] * HEAD_DIM + dims[None, :], mask=inside, other=0.0
        )  # (BLOCK, BLOCK_DIM)
        v = tl.load(storage_at + v_row[:, None] * HEAD_DIM + dims[None, :], mask=inside, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        scores = tl.where(is_token[None, :], scores, float("-inf"))
        new_largest = tl.maximum(largest, tl.max(scores, 1))
        shrink = tl.exp(largest - new_largest)
        share = tl.exp(scores - new_largest[:, None])
        weight = weight * shrink + tl.sum(share, 1)
        summed = summed * shrink[:, None]
        summed += tl.dot(share.to(v.dtype), v, input_precision="ieee")
        largest = new_largest
    place = heads * splits + split
    tl.store(
        partial_at + place[:, None] * HEAD_DIM + dims[None, :],
        summed / weight[:, None],
        mask=is_head[:, None] & is_dim[None, :],
    )
    tl.store(lse_at + place, largest + tl.log(weight), mask=is_head)


@triton.jit(do_not_specialize=["splits"])  # type: ignore[untyped-decorator]
def _merge_splits(
    partial_at: tl.tensor,
    lse_at: tl.tensor,
    contexts_at: tl.tensor,
    out_at: tl.tensor,
    splits: tl.tensor,
    HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    SPLIT: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
) -> None:
    """One program: one head of one request, its splits in order."""
    request, head = tl.program_id(0), tl.program_id(1)
    row = request * HEADS + head
    dims = tl.arange(0, BLOCK_DIM)
    is_dim = dims < HEAD_DIM
    used = tl.cdiv(tl.load(contexts_at + request), SPLIT)
    largest = tl.load(lse_at + row * splits)
    summed = tl.load(partial_at + row * splits * HEAD_DIM + dims, mask=is_dim, other=0.0)
    weight = 1.0
    for split in range(1, used):
        lse = tl.load(lse_at + row * splits + split)
        part = tl.load(
            partial_at + (row * splits + split) * HEAD_DIM + dims, mask=is_dim, other=0.0
        )
        new_largest = tl.maximum(largest, lse)
        shrink, share = tl.exp(largest - new_largest), tl.exp(lse - new_largest)
        summed = summed * shrink + part * share
        weight = weight * shrink + share
        largest = new_largest
    out = (summed / weight).to(out_at.dtype.element_ty)
    tl.store(out_at + row * HEAD_DIM + dims, out, mask=is_dim)
