"""`no-offload` as one would write it in an afternoon: lists, loops, one token at a time.

First come first served. A request is admitted when the pages of its prompt and all its outputs but
the last fit beside those of everybody admitted, and the batch has room. With chunk 0 a pass takes
one whole prompt and nobody decodes; otherwise a pass takes up to `chunk` prompt tokens, never more
than a prompt's next piece, and everybody whose prompt is done decodes. A prompt's last piece gives
the first token at the end of its pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from strategies import Machine

from orbitflow.request import Request
from reference.lines import lines


@dataclass
class Job:
    request: Request
    pages: int
    prefilled: int = 0
    times: list[float] = field(default_factory=list)


def serve_no_offload(
    machine: Machine,
    requests: Sequence[Request],
    max_batch: int | None,
    chunk: int,
) -> tuple[dict[int, list[float]], set[int]]:
    """Token times by request, and the requests that can never be served."""
    decode, prefill = lines(machine.cost).decode, lines(machine.cost).prefill
    page, layers, room = machine.cost.page_tokens, machine.cost.layers, machine.limits.gpu_pages
    coming = list(requests)
    waiting: list[Job] = []
    prompts: list[Job] = []
    running: list[Job] = []
    done: dict[int, list[float]] = {}
    refused: set[int] = set()
    now = 0.0
    while True:
        while coming and coming[0].arrival_s <= now:
            request = coming.pop(0)
            tokens = request.prompt_tokens + request.output_tokens - 1
            pages = layers * ((tokens + page - 1) // page)
            if pages > room:
                refused.add(request.id)
            else:
                waiting.append(Job(request, pages))
        while waiting:
            active = prompts + running
            if max_batch is not None and len(active) >= max_batch:
                break
            if sum(job.pages for job in active) + waiting[0].pages > room:
                break
            prompts.append(waiting.pop(0))
        if not prompts and not running:
            if not coming:
                return done, refused
            now = coming[0].arrival_s
            continue
        pieces: list[tuple[Job, int]] = []
        decoding = running
        if chunk == 0 and prompts:
            pieces = [(prompts[0], prompts[0].request.prompt_tokens)]
            decoding = []
        elif chunk:
            left = chunk
            for job in prompts:
                piece = min(chunk, job.request.prompt_tokens - job.prefilled)
                if piece > left:
                    break
                pieces.append((job, piece))
                left -= piece
        if decoding:
            now += decode.base_s + decode.request_s * len(decoding)
            for job in decoding:
                now += decode.token_s * (job.request.prompt_tokens + len(job.times))
        else:
            now += prefill.base_s
        for job, piece in pieces:
            now += prefill.token_s * piece
            now += prefill.pair_s * piece * (job.prefilled + piece / 2)
        for job in decoding:
            job.times.append(now)
        for job, piece in pieces:
            job.prefilled += piece
            if job.prefilled == job.request.prompt_tokens:
                job.times.append(now)
                prompts.remove(job)
                running.append(job)
        for job in [job for job in running if len(job.times) == job.request.output_tokens]:
            running.remove(job)
            done[job.request.id] = job.times
