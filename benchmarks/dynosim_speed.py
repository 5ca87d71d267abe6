"""DynoSim, the mocker of NVIDIA Dynamo, replaying a trace: CPU seconds and peak memory.

    python -m venv peer
    peer/bin/pip install ai-dynamo-runtime==1.6.1
    orbitflow trace convert AZURE_CONV_2023.csv azure.jsonl
    peer/bin/python benchmarks/dynosim_speed.py azure.jsonl

Batches of 128, 512 tokens a pass, pages of 64 tokens, as the row of `docs/performance.md` that it
stands beside. It wants block hashes in its traces; every block gets one of its own, so that nothing
is reused. Needs nothing of OrbitFlow.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

BLOCK_TOKENS = 512  # of a hash in Mooncake's traces
ENGINE = {
    "num_gpu_blocks": 8192,
    "block_size": 64,
    "max_num_seqs": 128,
    "max_num_batched_tokens": 512,
    "enable_chunked_prefill": True,
    "enable_prefix_caching": False,
}


def with_hashes(trace: Path, out: Path) -> None:
    """Give every block of every prompt a hash of its own."""
    known = 0
    with trace.open(encoding="utf-8") as lines, out.open("w", encoding="utf-8") as written:
        for line in lines:
            request = json.loads(line)
            blocks = -(-request["input_length"] // BLOCK_TOKENS)
            request["hash_ids"] = list(range(known, known + blocks))
            known += blocks
            written.write(json.dumps(request) + "\n")


def main() -> None:
    """Replay and print one line."""
    core: Any = importlib.import_module("dynamo._core")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.jsonl"
        with_hashes(Path(sys.argv[1]), path)
        before = resource.getrusage(resource.RUSAGE_SELF)
        core.run_mocker_trace_replay(
            [str(path)], extra_engine_args=json.dumps({"engine": ENGINE}), trace_block_size=512
        )
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"DynoSim: {cpu_s:.2f} s of CPU, {after.ru_maxrss / 1024:.0f} MB at most")


if __name__ == "__main__":
    main()
