"""One small valid file of each kind that the product reads, in the folder where it belongs."""

from __future__ import annotations

import json
from pathlib import Path

import typer.main
from reference.commands import write_trace
from reference.recorded import record

from orbitflow.cli import app
from orbitflow.config import RunConfig
from orbitflow.scenario import build_scenario
from orbitflow.validate.recorded import read_run
from orbitflow.validate.validation import validate

TRACES = {
    "canonical": '{"timestamp": 0, "input_length": 67, "output_length": 5, "slo_tbt_ms": 100}\n'
    '{"timestamp": 27, "input_length": 80, "output_length": 9}\n',
    "mooncake": '{"timestamp": 0, "input_length": 67, "output_length": 5, "hash_ids": [1, 2]}\n'
    '{"timestamp": 27, "input_length": 80, "output_length": 9, "hash_ids": [1, 3]}\n',
    "azure-2023": "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n",
    "azure-2024": "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2024-05-10 00:00:00.009930+00:00,374,44\n2024-05-10 00:00:01.017335+00:00,396,109\n",
    "burstgpt": "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,1087,230,1317,Conversation log\n",
    "sharegpt": '[{"id": "a", "conversations": [{"from": "human", "value": "one two"},'
    ' {"from": "gpt", "value": "three"}]},\n {"id": "b", "conversations":'
    ' [{"from": "human", "value": "four"}, {"from": "gpt", "value": "five six"}]}]\n',
    "orbitflow-paper": '{"batch_size": 4, "num_gpu_blocks_override": 900, "requests": {"a":'
    ' {"input_length": 70, "output_length": 3, "arrival_time": 0}, "b":'
    ' {"input_length": 80, "output_length": 4, "arrival_time": 5}}}\n',
}
MODEL = {
    "model_type": "llama",
    "num_hidden_layers": 4,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 256,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
    "hidden_act": "silu",
    "eos_token_id": [1, 2],
    "rope_scaling": None,
}
GRID = '[grid]\npolicy = ["no-offload", "dynamic"]\nslo_scale = [1, 1.5]\ngpu_memory = "24GiB"\n'
_FEW = ("--kv-capacity-tokens", "12000", "--quiet")


def make(root: Path) -> None:
    """Write all of them: `run` has every file of a validated run, the others those of studies."""
    arrivals = [(0.0, 6000, 12), (200.0, 3000, 16), (400.0, 5000, 8), (900.0, 200, 1)]
    trace = str(root / "t.jsonl")
    write_trace(root / "t.jsonl", arrivals)
    config = RunConfig(trace=trace, policies=("dynamic",), kv_capacity_tokens=8000)
    record(build_scenario(config), root / "run")
    found = validate(read_run(root / "run"), lambda name: None)
    content = {"schema_version": 1, "policies": {f.policy: f.to_json() for f in found}}
    (root / "run" / "validation.json").write_text(json.dumps(content))
    study = ("study", "run", "--trace", trace, *_FEW, "--workers", "1", "--policy", "dynamic")
    _call(*study, "--grid", "slo-scale=1,2", "--bound", "--out", str(root / "study"))
    ask = ("--vary", "rate-scale=0.1..1", "--target", "slo_attainment=0.5", "--tolerance", "50%")
    capacity = ("study", "capacity", "--trace", trace, *_FEW, "--workers", "1", "--seeds", "1")
    _call(*capacity, "--policy", "no-offload", *ask, "--out", str(root / "capacity"))
    (root / "model").mkdir()
    (root / "model" / "config.json").write_text(json.dumps(MODEL, indent=1))
    (root / "grid.toml").write_text(GRID)
    for name, text in TRACES.items():
        (root / f"{name}.trace").write_text(text)


def _call(*arguments: str) -> None:
    typer.main.get_command(app).main(list(arguments), standalone_mode=False)
