"""What `orbitflow generate` does: one request through the whole backend, printed as it comes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from orbitflow.backend.clock import AlarmClock
from orbitflow.backend.driver import Driver, on_ctrl_c
from orbitflow.backend.executor import refuse_unserved
from orbitflow.backend.machine import BackendMachine
from orbitflow.backend.model.tokenizer import TextStream, Tokenizer, has_tokenizer
from orbitflow.backend.serve import Backend, host_pool_pages
from orbitflow.cli.backend_parts import Parts, believed_profile, load_parts, refuse_too_long
from orbitflow.config import Replay, RunConfig
from orbitflow.engine.engine import ServingCore
from orbitflow.errors import UserError
from orbitflow.policy.registry import make_policy
from orbitflow.request import Request
from orbitflow.scenario import Scenario, build_scenario
from orbitflow.session import outfit
from orbitflow.step import Events, Step, StepOutcome
from orbitflow.traces.trace import Trace
from orbitflow.units import format_bytes, format_seconds


class Question(NamedTuple):
    """What a person asks."""

    prompt: str | None
    prompt_tokens: str | None
    max_new_tokens: int
    policy: str
    kv_capacity_tokens: int | None
    profile: str | None


def generate(question: Question, replay: Replay, seed: int, *, quiet: bool) -> None:
    """Generate, and print. Raise a UserError for a question that cannot be answered."""
    if question.max_new_tokens < 1:
        raise UserError(f"--max-new-tokens {question.max_new_tokens} must be at least 1")
    if (question.prompt is None) == (question.prompt_tokens is None):
        raise UserError("give either --prompt or --prompt-tokens")
    say: Callable[[str], object] = (
        (lambda line: None) if quiet else (lambda line: print(line, file=sys.stderr))
    )
    if question.policy == "all":
        raise UserError("--policy all: one prompt has one policy: name it")
    refuse_unserved(make_policy(question.policy), on_cpu=replay.device == "cpu")
    config = RunConfig(
        trace="prompt",
        policies=(question.policy,),
        kv_capacity_tokens=question.kv_capacity_tokens,
        seed=seed,
    )
    parts = load_parts(replay, seed, say)
    tokenizer = _tokenizer(parts, question)
    prompt = _prompt(question, tokenizer, parts)
    trace = _trace(len(prompt), question.max_new_tokens)
    refuse_too_long(trace, parts.decoder.max_context_tokens)
    profile = believed_profile(question.profile, parts, replay, say)
    scenario = build_scenario(config, raw=trace, profile=profile)
    for notice in scenario.notices:
        say(f"note: {notice}")
    with parts.machine.computing():
        _answer(scenario, parts, prompt, tokenizer, say)


def _tokenizer(parts: Parts, question: Question) -> Tokenizer | None:
    folder = parts.model.folder
    if folder is not None and has_tokenizer(folder):
        return Tokenizer(folder)
    if question.prompt is not None:
        raise UserError(
            f"{parts.model.architecture.spec.name} has no tokenizer: give --prompt-tokens, or a "
            "model directory with a tokenizer.json"
        )
    return None


def _prompt(question: Question, tokenizer: Tokenizer | None, parts: Parts) -> list[int]:
    """The prompt's tokens."""
    if question.prompt is not None:
        assert tokenizer is not None
        text = sys.stdin.read() if question.prompt == "-" else question.prompt
        tokens = tokenizer.encode(text)
    else:
        tokens = _read_ids(question.prompt_tokens or "", parts.model.architecture.spec.vocab_size)
    if not tokens:
        raise UserError("the prompt is empty: give at least one token")
    return tokens


def _read_ids(text: str, vocabulary: int) -> list[int]:
    tokens = []
    for part in filter(None, map(str.strip, text.split(","))):
        if not (part.isascii() and part.isdigit()) or int(part[:12]) >= vocabulary:
            raise UserError(
                f"--prompt-tokens: {part!r} is no token: write ids from 0 to {vocabulary - 1}"
            )
        tokens.append(int(part))
    return tokens


def _trace(prompt_tokens: int, output_tokens: int) -> Trace:
    """A trace of this one request."""
    prompts, outputs = np.array([prompt_tokens]), np.array([output_tokens])
    return Trace("prompt", "the command line", "prompt", np.zeros(1), "s", prompts, outputs)


class _Printer:
    """Prints tokens as they come, as text where there is a tokenizer, until the model ends."""

    def __init__(
        self, tokenizer: Tokenizer | None, prompt: list[int], stop: Callable[[], object]
    ) -> None:
        self.generated = 0
        self.is_over = False
        self.first_s: float | None = None
        self.last_s = 0.0
        self._ends = frozenset() if tokenizer is None else tokenizer.end_tokens
        self._text = None if tokenizer is None else TextStream(tokenizer, prompt)
        self._stop = stop

    def __call__(self, request_id: int, token: int) -> None:
        if self.is_over:
            return
        self.last_s = time.perf_counter()
        self.first_s = self.first_s or self.last_s
        if token in self._ends:
            self.is_over = True
            self._stop()
            return
        self.generated += 1
        if self._text is not None:
            self._print(self._text.push(token))
        else:
            self._print(str(token) if self.generated == 1 else f",{token}")

    def finish(self) -> None:
        """Print what is held back, and end the line."""
        if self._text is not None:
            self._print(self._text.flush())
        self._print("\n")

    def _print(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def _answer(
    scenario: Scenario,
    parts: Parts,
    prompt: list[int],
    tokenizer: Tokenizer | None,
    say: Callable[[str], object],
) -> None:
    policy, limits = outfit(scenario, scenario.policies[0]), scenario.limits
    core = ServingCore(policy, limits, tau_s=scenario.slo.tau_s, max_batch=1)
    (request,) = scenario.trace.requests()
    refusals: list[str] = []
    clock = AlarmClock()
    printer = _Printer(tokenizer, prompt, lambda: driver.interrupt())  # made below
    backend = Backend(parts.machine, parts.decoder, lambda _: prompt, say)
    pages = host_pool_pages(limits, scenario.trace.final_tokens(), 1)
    executor = backend.executor(core, limits, {0: request}, pages, clock, printer)
    watcher = _Watcher(refusals)
    driver = Driver(core, executor, [request], watcher, clock=clock)
    began_s = time.perf_counter()
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        driver.interrupt()

    with on_ctrl_c(interrupt):
        driver.run()
    if refusals:
        raise UserError(f"the prompt cannot be served: {refusals[0]}")
    printer.finish()
    if interrupted:
        raise KeyboardInterrupt
    _report(printer, len(prompt), began_s, watcher, parts.machine, say)


class _Watcher:
    """Observer: counts bytes, keeps refusals."""

    def __init__(self, refusals: list[str]) -> None:
        self.streamed_bytes = 0
        self._refusals = refusals

    def refused(self, request: Request, reason: str) -> None:
        """Keep why."""
        self._refusals.append(reason)

    def stepped(self, step: Step, outcome: StepOutcome, events: Events) -> None:
        """Count what came over the link."""
        self.streamed_bytes += outcome.h2d_bytes

    def planned(self, latency_s: float) -> None:
        """Nothing to note."""


def _report(
    printer: _Printer,
    prompt_tokens: int,
    began_s: float,
    watcher: _Watcher,
    machine: BackendMachine,
    say: Callable[[str], object],
) -> None:
    if printer.first_s is None:
        return
    ttft = format_seconds(printer.first_s - began_s)
    line = f"{prompt_tokens} prompt tokens, first token after {ttft}; {printer.generated} generated"
    if printer.generated > 1:
        each = (printer.last_s - printer.first_s) / (printer.generated - 1)
        line += f", {format_seconds(each)} each"
    say(f"{line}; {format_bytes(watcher.streamed_bytes)} of KV streamed ({machine.device})")
