"""What is measured, by preset: how many points, how often, and for how long at most.

START is for a first run without a profile, QUICK for a minute, FULL for a profile to publish. Sizes
are shares of what the machine holds, or end where one measurement takes too long. So one preset
suits a toy model on a CPU and a large model on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Sweep:
    """A plan of measurements. Times in seconds, prompts in tokens, runs in pages."""

    TINY: ClassVar[Sweep]  # for tests
    START: ClassVar[Sweep]
    QUICK: ClassVar[Sweep]
    FULL: ClassVar[Sweep]

    name: str
    batches: tuple[int, ...]
    fills: tuple[float, ...]  # shares of the KV capacity that a decode batch takes
    passes: int  # per decode measurement
    decode_s: float  # most time of one decode measurement; it takes fewer passes then
    prompts: tuple[int, ...]
    chunked: tuple[tuple[int, int], ...]  # prompt and chunk
    prompt_s: float  # longer prompts than the first that takes this long are left out
    runs: tuple[int, ...]
    link_s: float  # time of one burst of copies
    besides: int  # batches that decode beside a busy link
    plans: int
    served: int  # mixed requests that are served beside
    rounds: int
    budget_s: float  # no further round is begun after it


Sweep.TINY = Sweep(
    "tiny",
    batches=(1, 4, 8),
    fills=(0.05, 0.4),
    passes=4,
    decode_s=0.2,
    prompts=(16, 64, 128),
    chunked=((128, 32),),
    prompt_s=0.1,
    runs=(1, 8),
    link_s=0.01,
    besides=1,
    plans=1,
    served=3,
    rounds=2,
    budget_s=1.0,
)
Sweep.START = Sweep(
    "start",
    batches=(1, 4, 8, 16, 64),
    fills=(0.02, 0.3, 0.9),
    passes=4,
    decode_s=0.25,
    prompts=(16, 64, 256, 1024),
    chunked=((768, 256),),
    prompt_s=0.3,
    runs=(1, 2, 4, 8, 16, 48),
    link_s=0.03,
    besides=1,
    plans=3,
    served=8,
    rounds=2,
    budget_s=4.5,
)
Sweep.QUICK = Sweep(
    "quick",
    batches=(1, 2, 4, 6, 8, 16, 32, 64),
    fills=(0.04, 0.2, 0.5, 0.95),
    passes=8,
    decode_s=0.5,
    prompts=(16, 48, 128, 256, 512, 1024, 2048, 8192, 32768),
    chunked=((1024, 128), (2048, 512)),
    prompt_s=0.6,
    runs=(1, 4, 16, 64),
    link_s=0.08,
    besides=2,
    plans=7,
    served=12,
    rounds=9,
    budget_s=40.0,
)
Sweep.FULL = Sweep(
    "full",
    batches=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256),
    fills=(0.01, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.95),
    passes=17,
    decode_s=2.0,
    prompts=(16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072),
    chunked=((2048, 128), (4096, 512), (16384, 2048)),
    prompt_s=2.0,
    runs=(1, 2, 3, 4, 6, 8, 16, 32, 64, 128, 256),
    link_s=0.3,
    besides=7,
    plans=15,
    served=32,
    rounds=7,
    budget_s=900.0,
)
