"""`tokens.jsonl`: the token ids that every request was given, in the order in which requests ended.

An observer writes a request's line when it ends; what an unfinished run has generated so far is
written at its end, and says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from orbitflow.request import Request
from orbitflow.results.recorder import LineSink
from orbitflow.step import Events, Step, StepOutcome

_encode = json.JSONEncoder(separators=(",", ":")).encode


class TokenFile:
    """Observer of a backend run. `tokens` has each request's prompt and what was generated."""

    def __init__(
        self, out: LineSink, tokens: dict[int, list[int]], requests: Mapping[int, Request]
    ) -> None:
        self._out = out
        self._tokens = tokens
        self._requests = requests

    def refused(self, request: Request, reason: str) -> None:
        """It has no tokens."""

    def stepped(self, step: Step, outcome: StepOutcome, events: Events) -> None:
        """Write, and forget, the tokens of those who are done."""
        for finished in events.finished:
            self._write(finished.request.id, "completed")

    def planned(self, latency_s: float) -> None:
        """Nothing to write."""

    def finish(self) -> None:
        """Write what requests have generated that the run did not finish."""
        for request_id in sorted(self._tokens):
            self._write(request_id, "unfinished")

    def _write(self, request_id: int, status: str) -> None:
        prompt_tokens = self._requests[request_id].prompt_tokens
        generated = self._tokens.pop(request_id)[prompt_tokens:]
        line = {"id": request_id, "status": status, "tokens": generated}
        self._out.write(_encode(line) + "\n")
