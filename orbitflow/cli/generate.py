"""`orbitflow generate`: text from a prompt that may be longer than the GPU has KV for."""

from __future__ import annotations

from typing import Annotated

import typer

from orbitflow.config import Replay

_BACKEND = "Backend"


def generate_command(
    model: Annotated[
        str,
        typer.Option(
            help="A Hugging Face model directory with a tokenizer. Without one, or for a preset "
            "with random weights, give --prompt-tokens."
        ),
    ],
    prompt: Annotated[str | None, typer.Option(help="The prompt; `-` reads it from stdin.")] = None,
    prompt_tokens: Annotated[
        str | None, typer.Option(help="The prompt as token ids, such as 1,15,2047.")
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(help="Most tokens to generate; the model may end sooner.")
    ] = 128,
    policy: Annotated[
        str, typer.Option(help="Where KV lies; any exact policy gives the same text.")
    ] = "orbit",
    device: Annotated[
        str, typer.Option(help="cpu, cuda or cuda:N.", rich_help_panel=_BACKEND)
    ] = Replay.device,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="float32, bfloat16 or float16. Default: the model's; float32 on a CPU.",
            rich_help_panel=_BACKEND,
        ),
    ] = None,
    kv_capacity_tokens: Annotated[
        int | None,
        typer.Option(help="KV that the device holds, in tokens.", rich_help_panel=_BACKEND),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            help="A profile made by `orbitflow calibrate`. Default: a quick measurement.",
            rich_help_panel=_BACKEND,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Seed of random weights.", rich_help_panel=_BACKEND)
    ] = 0,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only what is generated.")
    ] = False,
) -> None:
    """Generate greedily, with KV split over device and host, and print the text as it comes.

    Example: orbitflow generate --model ./Qwen3-0.6B --prompt "Once upon a time"
    """
    from orbitflow.backend.extra import require

    require("torch", "safetensors")

    question = Question(prompt, prompt_tokens, max_new_tokens, policy, kv_capacity_tokens, profile)
    generate(question, Replay(device=device, model=model, dtype=dtype), seed, quiet=quiet)
