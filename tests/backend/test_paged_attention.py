"""The Triton kernel against the reference: interpreted, compiled, and on a GPU where there is one.

It needs no GPU to be compiled down to machine code, which finds what the interpreter lets pass.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the backend needs torch")

import torch
from reference import paged

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("how", ["interpret", "compile"])
def test_without_a_gpu(how: str, tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="the kernel needs triton")
    said = {"TRITON_INTERPRET": "1" if how == "interpret" else "0"}
    done = subprocess.run(
        [sys.executable, "-m", "reference.paged", how],
        env={**os.environ, **said, "TRITON_CACHE_DIR": str(tmp_path)},
        cwd=TESTS, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(32, 8, 128), (8, 8, 64), (6, 2, 24)])
def test_on_a_gpu(heads: int, kv_heads: int, head_dim: int, dtype: torch.dtype) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pytest.importorskip("triton", reason="the kernel needs triton")
    for page_tokens in (16, 64, 256):
        shape = paged.Shape(heads, kv_heads, head_dim, page_tokens, dtype)
        paged.compare(shape, (1, 511, 512, 513, 3000), "cuda")
