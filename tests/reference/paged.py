"""Pages for the Triton kernel, and the same attention by the reference; see `main` for its use.

Triton decides when it is imported whether it interprets or compiles, so each has a process of its
own: `TRITON_INTERPRET=1 python -m reference.paged interpret`, `python -m reference.paged compile`.
"""

from __future__ import annotations

import sys
from math import nan
from typing import NamedTuple

import torch
from orbitflow.backend.attention.reference import decode_attention
from torch import Tensor


class Batch(NamedTuple):
    """What the kernel takes, and what it should give."""

    q: Tensor
    storage: Tensor
    tables: Tensor
    contexts: Tensor
    wanted: Tensor


class Shape(NamedTuple):
    """Heads and pages of a batch."""

    heads: int
    kv_heads: int
    head_dim: int
    page_tokens: int
    dtype: torch.dtype = torch.float32


def batch(shape: Shape, contexts: tuple[int, ...], device: str = "cpu") -> Batch:
    """Scatter random KV over pages; what holds none is NaN, and tables end in nonsense."""
    dice = torch.Generator().manual_seed(sum(contexts))
    heads, kv_heads, d, page_tokens, dtype = shape
    longest = -(-max(contexts) // page_tokens)
    places = torch.randperm(len(contexts) * longest + 3, generator=dice).tolist()
    storage = torch.full((len(places), 2, page_tokens, kv_heads, d), nan, dtype=dtype)
    tables = torch.full((len(contexts), longest + 1), 10**6, dtype=torch.int32)
    q = torch.randn(len(contexts), heads, d, generator=dice).to(dtype)
    wanted = []
    for request, context in enumerate(contexts):
        segments = []
        for number, start in enumerate(range(0, context, page_tokens)):
            tokens, page = min(page_tokens, context - start), places.pop()
            tables[request, number] = page
            drawn = torch.randn(2, tokens, kv_heads, d, generator=dice)
            storage[page, :, :tokens] = drawn.to(dtype)
            segments.append((storage[page, 0, :tokens], storage[page, 1, :tokens]))
        wanted.append(decode_attention(q[request], segments))
    given = (q, storage, tables, torch.tensor(contexts, dtype=torch.int32), torch.stack(wanted))
    return Batch(*(tensor.to(device) for tensor in given))


def compare(shape: Shape, contexts: tuple[int, ...], device: str = "cpu") -> None:
    """The kernel against the reference; then each request alone, bit for bit."""
    from orbitflow.backend.attention.triton_paged import paged_decode_attention

    q, storage, tables, lengths, wanted = batch(shape, contexts, device)
    got = paged_decode_attention(q, storage, tables, lengths)
    tolerance = 2e-6 if shape.dtype == torch.float32 else 1e-2
    torch.testing.assert_close(got, wanted, atol=tolerance, rtol=tolerance)
    for row in range(len(contexts)):
        one = slice(row, row + 1)
        pages = -(-contexts[row] // shape.page_tokens)
        alone = paged_decode_attention(q[one], storage, tables[one, :pages], lengths[one])
        assert torch.equal(alone, got[one])


def interpret() -> None:
    """Odd sizes, one query head to a KV head and several, splits just full and just begun."""
    compare(Shape(6, 2, 24, 16), (1, 700, 515))
    compare(Shape(2, 2, 32, 64), (512, 513, 64))
    compare(Shape(4, 1, 64, 100), (77, 1025))
    compare(Shape(4, 2, 16, 64, torch.float16), (65, 63))


def compile_for_gpu() -> None:
    """Down to machine code of an H100, without having one."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from orbitflow.backend.attention import triton_paged as paged_attention

    target, options = GPUTarget("cuda", 90, 32), {"enable_fp_fusion": True}
    head, split = {"HEAD_DIM": 128, "BLOCK_DIM": 128}, {"SPLIT": paged_attention.SPLIT_TOKENS}
    pages = {"PAGE_TOKENS": 64, "KV_HEADS": 8, "GROUP": 4, "BLOCK": 64, "BLOCK_ROWS": 16}
    inner = {"partial_at": "*fp32", "lse_at": "*fp32", "contexts_at": "*i32", "splits": "i32"}
    kv = {"q_at": "*bf16", "storage_at": "*bf16", "tables_at": "*i32"}
    counts = {"scale": "fp32", "table_stride": "i32"}
    for kernel, types, constants in (
        (paged_attention._attend_to_split, {**kv, **counts}, {**head, **split, **pages}),
        (paged_attention._merge_splits, {"out_at": "*bf16"}, {**head, **split, "HEADS": 32}),
    ):
        given = {**inner, **types, **dict.fromkeys(constants, "constexpr")}
        signature = {name: given[name] for name in kernel.arg_names}
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        assert triton.compile(source, target=target, options=options).asm["cubin"]


def main() -> None:
    torch.set_num_threads(1)
    {"interpret": interpret, "compile": compile_for_gpu}[sys.argv[1]]()


if __name__ == "__main__":
    main()
