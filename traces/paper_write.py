"""The writer of the OrbitFlow paper's benchmark files, as `traces/paper.py` reads them."""

from __future__ import annotations

import json
from pathlib import Path

from orbitflow.errors import TraceError
from orbitflow.traces.paper import BLOCK_TOKENS
from orbitflow.traces.trace import Trace
from orbitflow.traces.write import whole_file


def write_paper(trace: Trace, path: Path, *, overwrite: bool = False) -> None:
    """Write a trace whose arrivals are in engine steps as one JSON object.

    Raise a TraceError if arrivals are in seconds, if the file exists and `overwrite` is false, or
    if it cannot be written.
    """
    if trace.arrival_unit != "steps":
        raise TraceError(f"{trace.name}: arrivals are in seconds; the paper's files count steps")
    columns = (trace.arrival, trace.prompt_tokens, trace.output_tokens)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    capacity = trace.kv_capacity_tokens
    limits = {
        "batch_size": trace.max_batch,
        "num_gpu_blocks_override": None if capacity is None else capacity // BLOCK_TOKENS,
    }
    content = {
        **{name: limit for name, limit in limits.items() if limit is not None},
        "arrival_pattern": f"{trace.source} (unit: engine steps)",
        "requests": {
            f"request_{number}": {
                "input_length": prompt,
                "output_length": output,
                "arrival_time": int(at) if at.is_integer() else at,
            }
            for number, (at, prompt, output) in enumerate(rows)
        },
    }
    with whole_file(path, overwrite) as file:
        file.write(json.dumps(content, indent=1) + "\n")
