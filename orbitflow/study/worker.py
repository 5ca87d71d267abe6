"""Worker processes, each on a lane of its own: a pipe, one task at a time.

A lane knows what its worker is at, so when a worker is killed exactly one task is lost and the
others go on; a shared pool would take all of them down. Workers never see Ctrl-C: SIGINT is blocked
while they start and ignored afterwards, and whoever owns the lanes stops them.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Generic, Literal, TypeAlias, TypeVar

from orbitflow.study.task import Reply, StudyTask, Work, attempt

__all__ = ["DIED", "Lanes", "Reply", "StartMethod", "Work", "start_worker"]

StartMethod: TypeAlias = Literal["spawn", "fork"]
A = TypeVar("A")
K = TypeVar("K")


class _Lane(Generic[K]):
    """One worker and what it is at."""

    def __init__(self, context: BaseContext, work: Work) -> None:
        self.connection, self._process = start_worker(context, _serve, work)
        self.key: K | None = None

    def give(self, key: K, task: StudyTask) -> None:
        self.key = key
        with contextlib.suppress(OSError):  # it died while idle: taking its reply will tell
            self.connection.send(task)

    def take(self) -> Reply:
        try:
            reply = self.connection.recv()
        except (EOFError, OSError):
            return DIED
        assert isinstance(reply, Reply)
        return reply

    def stop(self) -> None:
        self._process.terminate()
        self._process.join()
        self._process.close()
        self.connection.close()


class Lanes(Generic[K]):
    """As many workers as wanted, started when there is something for them to do."""

    def __init__(self, workers: int, work: Work, start_method: StartMethod) -> None:
        self._context = get_context(start_method)
        self._work = work
        self._workers = workers
        self._lanes: list[_Lane[K]] = []

    def __enter__(self) -> Lanes[K]:
        return self

    def __exit__(self, *_: object) -> None:
        for lane in self._lanes:
            lane.stop()

    @property
    def has_room(self) -> bool:
        """Whether another task can be given."""
        return self._busy < self._workers

    @property
    def is_busy(self) -> bool:
        """Whether a reply is to come."""
        return self._busy > 0

    @property
    def _busy(self) -> int:
        return sum(lane.key is not None for lane in self._lanes)

    def give(self, key: K, task: StudyTask) -> None:
        """Have a task done; its reply comes with `key`."""
        idle = next((lane for lane in self._lanes if lane.key is None), None)
        if idle is None:
            idle = _Lane(self._context, self._work)
            self._lanes.append(idle)
        idle.give(key, task)

    def take(self) -> list[tuple[K, Reply]]:
        """Wait for replies. A worker that died is replaced when there is work again."""
        busy = {lane.connection: lane for lane in self._lanes if lane.key is not None}
        replies: list[tuple[K, Reply]] = []
        for ready in wait(list(busy)):
            assert isinstance(ready, Connection)
            lane = busy[ready]
            reply, key = lane.take(), lane.key
            assert key is not None
            lane.key = None
            if reply is DIED:
                self._lanes.remove(lane)
                lane.stop()
            replies.append((key, reply))
        return replies


def start_worker(
    context: BaseContext, serve: Callable[[Connection, A], None], given: A
) -> tuple[Connection, BaseProcess]:
    """Start a process deaf to Ctrl-C that serves one end of a pipe: the other end, and it."""
    ours, theirs = context.Pipe()
    process = context.Process(target=_deaf, args=(serve, theirs, given), daemon=True)  # type: ignore[attr-defined]
    with without_interrupts(), _without_main():
        process.start()
    theirs.close()
    return ours, process


def _deaf(serve: Callable[[Connection, A], None], connection: Connection, given: A) -> None:
    """Serve, whatever Ctrl-C says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    serve(connection, given)


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Block Ctrl-C, also for what is started meanwhile; one that comes is delivered afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hide the program's main module, which a new process would run again: workers need nothing
    of it, and a script that runs a study need not be guarded against itself.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _serve(connection: Connection, work: Work) -> None:
    """Do tasks until the other end is closed."""
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        connection.send(attempt(partial(work, task)))
