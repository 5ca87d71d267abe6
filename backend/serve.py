"""Serve a scenario's trace on a machine under one policy, in real time, into an open run folder.

The counterpart of `orbitflow.sim.run`: the same session, driven by the clock instead of by events.
Host memory for KV is what the largest batch that may ever be there needs at its end, because a
written-through request reserves its final length; the device pool is the planner's account, page
for page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from orbitflow.backend.observers import TokenFile, Watch

from orbitflow.arrays import IntArray
from orbitflow.backend.clock import AlarmClock
from orbitflow.backend.driver import Driver, on_ctrl_c
from orbitflow.backend.executor import OnToken, Prompts, TorchExecutor
from orbitflow.backend.kv.pool import Notice, refuse_too_large
from orbitflow.backend.kv.store import KvStore
from orbitflow.backend.machine import BackendMachine
from orbitflow.backend.model.decoder import Decoder
from orbitflow.config import DeliveryPace
from orbitflow.engine.engine import ServingCore
from orbitflow.engine.journal import Journal, JournalFile
from orbitflow.memory import KvLimits
from orbitflow.request import Request
from orbitflow.results.summary import PolicyReport
from orbitflow.scenario import Scenario
from orbitflow.session import Outputs, open_session
from orbitflow.step import Observers


@dataclass(frozen=True, slots=True)
class Backend:
    """A model on a machine: what the policies of a run have in common."""

    machine: BackendMachine
    decoder: Decoder
    prompts: Prompts
    notice: Notice

    def refuse_too_large(self, scenario: Scenario) -> None:
        """Raise a UserError if the machine has no room for the scenario's host pool."""
        shape = self.machine.shape(self.decoder, scenario.limits.page_tokens)
        refuse_too_large(_host_pages(scenario) * shape.page_bytes)

    def executor(
        self,
        core: ServingCore,
        limits: KvLimits,
        requests: dict[int, Request],
        host_pages: int,
        clock: AlarmClock,
        on_token: OnToken | None = None,
        watch: Watch | None = None,
    ) -> TorchExecutor:
        """An executor with a data plane of its own. Raise a UserError if memory does not do."""
        assert limits.layers == self.decoder.layers, "the profile is of another model"
        data_plane = core.policy.data_plane
        shape = self.machine.shape(self.decoder, limits.page_tokens)
        plane = self.machine.plane(
            shape,
            limits.gpu_pages,
            host_pages,
            clock,
            notice=self.notice,
            sink=None if watch is None else watch.transfer,
        )
        return TorchExecutor(
            self.decoder,
            plane,
            KvStore(plane, limits.layers, data_plane),
            clock,
            requests,
            self.prompts,
            data_plane=data_plane,
            account=core.account,
            roster=core.roster,
            on_token=on_token,
            span=None if watch is None else watch.layer_sink,
        )


class Served(NamedTuple):
    """What a policy's run came to, and whether it was run to its end."""

    report: PolicyReport
    is_complete: bool


def serve_policy(
    scenario: Scenario,
    name: str,
    backend: Backend,
    folder: Outputs,
    progress: Callable[[int], None],
) -> Served:
    """Run one policy; Ctrl-C ends it at the next pass. `progress` is told as requests end.

    If the run fails, what was delivered until then is in the folder before the error is raised.
    """
    failure: BaseException | None = None
    is_complete = False
    requests = {request.id: request for request in scenario.trace.requests()}
    with (
        backend.machine.computing(),
        open_session(scenario, name, folder, progress) as session,
        folder.lines(f"{name}/tokens.jsonl") as tokens_out,
        folder.lines(f"{name}/journal.jsonl") as journal_out,
        _watching(scenario, name, backend, folder, session.core) as watch,
    ):
        clock, core = AlarmClock(), session.core
        pages = _host_pages(scenario)
        executor = backend.executor(core, scenario.limits, requests, pages, clock, watch=watch)
        tokens = TokenFile(tokens_out, executor.tokens, requests)
        observer = Observers(tokens, session.recorder, *([] if watch is None else [watch]))
        journal = Journal(core, JournalFile(journal_out))
        span = None if watch is None else watch.span
        driver = Driver(journal, executor, requests.values(), observer, clock=clock, span=span)
        try:
            with on_ctrl_c(driver.interrupt):
                is_complete = driver.run().is_complete
        except BaseException as error:  # a second Ctrl-C too
            failure = error
        tokens.finish()
        if watch is not None:
            watch.close(clock.now_s())
    del executor, driver
    backend.machine.release()
    if failure is not None:
        raise failure
    return Served(session.report(), is_complete)


@contextmanager
def _watching(
    scenario: Scenario, name: str, backend: Backend, folder: Outputs, core: ServingCore
) -> Iterator[Watch | None]:
    """Open the timeline if it is wanted."""
    if not scenario.config.timeline:
        yield None
        return
    with folder.lines(f"{name}/timeline.json") as out:
        paced = scenario.config.pace is DeliveryPace.SLO
        yield Watch(out, core, paced=paced, on_cpu=backend.machine.is_cpu)


def _host_pages(scenario: Scenario) -> int:
    return host_pool_pages(scenario.limits, scenario.trace.final_tokens(), scenario.max_batch)


def host_pool_pages(limits: KvLimits, final_tokens: IntArray, max_batch: int | None) -> int:
    """Pages that the most demanding requests, as many as may be there at once, hold at their ends;
    never more than the limit.
    """
    largest = np.sort(final_tokens)[::-1][:max_batch]
    pages = limits.layers * int((-(-largest // limits.page_tokens)).sum())
    return pages if limits.host_pages is None else min(pages, limits.host_pages)
