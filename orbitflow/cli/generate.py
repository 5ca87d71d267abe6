"""`orbitflow generate`: one request through the whole backend, printed as it comes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from orbitflow.cli.options import AsJson, Given, Quiet, configured, split_policies
from orbitflow.cli.prompt import Prompt, read_prompt
from orbitflow.errors import UserError
from orbitflow.options import BACKEND
from orbitflow.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from orbitflow.backend.model.tokenizer import Tokenizer
    from orbitflow.cli.backend_parts import Parts
    from orbitflow.config import Replay, RunConfig
    from orbitflow.request import Request
    from orbitflow.scenario import Scenario
    from orbitflow.step import Events, Step, StepOutcome
    from orbitflow.traces.trace import Trace

SCHEMA_VERSION = 1


@configured(
    ["kv_capacity_tokens", "seed"],
    ["device", "dtype"],
    shown=["kv_capacity_tokens", "seed", "device", "dtype"],
    own_first=True,
)
def generate_command(
    given: Given,
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
    profile: Annotated[
        str | None,
        typer.Option(
            help="A profile made by `orbitflow calibrate`. Default: a quick measurement.",
            rich_help_panel=BACKEND,
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Generate greedily, with KV split over device and host, and print the text as it comes.

    Example: orbitflow generate --model ./Qwen3-0.6B --prompt "Once upon a time"
    """
    from orbitflow.backend.extra import require

    require("torch", "safetensors")
    if max_new_tokens < 1:
        raise UserError(f"--max-new-tokens {max_new_tokens} must be at least 1")
    if (prompt is None) == (prompt_tokens is None):
        raise UserError("give either --prompt or --prompt-tokens")
    policies = split_policies([policy])
    if len(policies) > 1 or policies == ("all",):
        raise UserError(f"--policy {policy}: one prompt has one policy: name it")
    config = given.config(trace="prompt", policies=policies, profile=profile)
    replay = given.backend(model=model)
    question = Prompt(prompt, prompt_tokens, max_new_tokens)
    _generate(config, replay, question, as_json=as_json, talks=not (quiet or as_json))


def _generate(
    config: RunConfig, replay: Replay, question: Prompt, *, as_json: bool, talks: bool
) -> None:
    from orbitflow.backend.executor import refuse_unserved
    from orbitflow.backend.model.tokenizer import end_tokens
    from orbitflow.cli.backend_parts import believed_profile, load_parts, refuse_too_long
    from orbitflow.policy.registry import make_policy
    from orbitflow.scenario import build_scenario

    def say(line: str) -> None:
        if talks:
            print(line, file=sys.stderr)

    refuse_unserved(make_policy(config.policies[0]), on_cpu=replay.device == "cpu")
    parts = load_parts(replay, config.seed, say)
    tokenizer, prompt = read_prompt(parts, question)
    trace = _trace(len(prompt), question.max_new_tokens)
    refuse_too_long(trace, parts.decoder.max_context_tokens)
    ends = frozenset() if parts.model.folder is None else end_tokens(parts.model.folder)
    profile = believed_profile(config.profile, parts, replay, say)
    scenario = build_scenario(config, raw=trace, profile=profile)
    for notice in scenario.notices:
        say(f"note: {notice}")
    printer = _Printer(tokenizer, ends, prompt, shown=not as_json)
    watcher = _Watcher()
    with parts.machine.computing():
        began_s = time.perf_counter()
        was_interrupted = _answer(scenario, parts, prompt, printer, watcher, say)
    ttft_s = None if printer.first_s is None else printer.first_s - began_s
    if as_json:
        content = {
            "schema_version": SCHEMA_VERSION,
            "model": parts.model.architecture.spec.name,
            "device": parts.machine.name,
            "policy": scenario.policies[0],
            "prompt_tokens": len(prompt),
            "tokens": printer.tokens,
            "text": printer.text,
            "ttft_s": ttft_s,
            "tpot_s": printer.each_s,
            "h2d_bytes": watcher.streamed_bytes,
        }
        print(json.dumps(content, indent=2))
    if was_interrupted:
        raise KeyboardInterrupt
    if ttft_s is not None:
        each = "" if printer.each_s is None else f", {format_seconds(printer.each_s)} each"
        say(
            f"{len(prompt)} prompt tokens, first token after {format_seconds(ttft_s)}; "
            f"{len(printer.tokens)} generated{each}; {format_bytes(watcher.streamed_bytes)} of KV "
            f"streamed ({parts.machine.device})"
        )


def _trace(prompt_tokens: int, output_tokens: int) -> Trace:
    """A trace of this one request."""
    import numpy as np

    from orbitflow.traces.trace import Trace

    prompts, outputs = np.array([prompt_tokens]), np.array([output_tokens])
    return Trace("prompt", "the command line", "prompt", np.zeros(1), "s", prompts, outputs)


class _Printer:
    """Takes tokens as they come, as text where there is a tokenizer, until the model ends; prints
    them at once if that is wanted.
    """

    def __init__(
        self,
        tokenizer: Tokenizer | None,
        ends: frozenset[int],
        prompt: list[int],
        *,
        shown: bool,
    ) -> None:
        from orbitflow.backend.model.tokenizer import TextStream

        self.tokens: list[int] = []
        self.text: str | None = None if tokenizer is None else ""
        self.first_s: float | None = None
        self.last_s = 0.0
        self.stop: Callable[[], object] = lambda: None
        self._is_over = False
        self._ends = ends
        self._stream = None if tokenizer is None else TextStream(tokenizer, prompt)
        self._is_shown = shown

    def __call__(self, request_id: int, token: int) -> None:
        if self._is_over:
            return
        self.last_s = time.perf_counter()
        self.first_s = self.first_s or self.last_s
        if token in self._ends:
            self._is_over = True
            self.stop()
            return
        self.tokens.append(token)
        if self._stream is not None:
            self._add(self._stream.push(token))
        else:
            self._print(str(token) if len(self.tokens) == 1 else f",{token}")

    def finish(self) -> None:
        """Print what is held back, and end the line."""
        if self._stream is not None:
            self._add(self._stream.flush())
        self._print("\n")

    @property
    def each_s(self) -> float | None:
        """Mean time between tokens, from two tokens on."""
        if self.first_s is None or len(self.tokens) < 2:
            return None
        return (self.last_s - self.first_s) / (len(self.tokens) - 1)

    def _add(self, text: str) -> None:
        self.text = (self.text or "") + text
        self._print(text)

    def _print(self, text: str) -> None:
        if self._is_shown:
            sys.stdout.write(text)
            sys.stdout.flush()


def _answer(
    scenario: Scenario,
    parts: Parts,
    prompt: list[int],
    printer: _Printer,
    watcher: _Watcher,
    say: Callable[[str], object],
) -> bool:
    """Serve the one request. Return whether it was interrupted; raise a UserError if refused."""
    from orbitflow.backend.clock import AlarmClock
    from orbitflow.backend.driver import Driver, on_ctrl_c
    from orbitflow.backend.serve import Backend, host_pool_pages
    from orbitflow.engine.engine import ServingCore
    from orbitflow.session import outfit

    policy, limits = outfit(scenario, scenario.policies[0]), scenario.limits
    core = ServingCore(policy, limits, tbt_limit_s=scenario.slo.tbt_limit_s, max_batch=1)
    (request,) = scenario.trace.requests()
    clock = AlarmClock()
    backend = Backend(parts.machine, parts.decoder, lambda _: prompt, say)
    pages = host_pool_pages(limits, scenario.trace.final_tokens(), 1)
    executor = backend.executor(core, limits, {0: request}, pages, clock, printer)
    driver = Driver(core, executor, [request], watcher, clock=clock)
    printer.stop = driver.interrupt
    was_interrupted = False

    def interrupt() -> None:
        nonlocal was_interrupted
        was_interrupted = True
        driver.interrupt()

    with on_ctrl_c(interrupt):
        driver.run()
    if watcher.refusal is not None:
        raise UserError(f"the prompt cannot be served: {watcher.refusal}")
    printer.finish()
    return was_interrupted


class _Watcher:
    """Observer: counts bytes, keeps a refusal."""

    def __init__(self) -> None:
        self.streamed_bytes = 0
        self.refusal: str | None = None

    def refused(self, request: Request, reason: str) -> None:
        """Keep why."""
        self.refusal = reason

    def stepped(self, step: Step, outcome: StepOutcome, events: Events) -> None:
        """Count what came over the link."""
        self.streamed_bytes += outcome.h2d_bytes

    def planned(self, latency_s: float) -> None:
        """Nothing to note."""
