"""Worker processes behind the executor interface of `concurrent.futures`.

Each process does one call at a time, and a thread of its own waits for it. So a worker that is
killed takes its own call down and no other; a `ProcessPoolExecutor` would lose all calls under way.
Workers never see Ctrl-C: SIGINT is blocked while they start and ignored afterwards, and who leaves
the executor stops them. They end as well when the process that started them does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any, Literal, NamedTuple, ParamSpec, TypeAlias, TypeVar

StartMethod: TypeAlias = Literal[
    "spawn", "forkserver"
]  # forks of a process with threads are not safe
P = ParamSpec("P")
T = TypeVar("T")


class WorkerDied(Exception):
    """The process that did a call is gone, and the call with it."""


class StudyExecutor(Executor):
    """An executor that says how many calls it does at a time. Leaving it stops them."""

    workers: int

    def __exit__(self, *_: object) -> None:
        self.shutdown(cancel_futures=True)


class WorkerPool(StudyExecutor):
    """At most `workers` processes of this machine, started when there is something to do.

    The future of a call whose process was killed raises WorkerDied; another takes its place.
    """

    def __init__(self, workers: int, start_method: StartMethod = "spawn") -> None:
        self.workers = workers
        self._start_method = start_method
        self._threads = ThreadPoolExecutor(workers, initializer=_block_interrupts)
        self._lock = threading.Lock()
        self._all: set[_Worker] = set()
        self._idle: list[_Worker] = []
        self._is_stopped = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a call done. Function, arguments and result must be picklable."""
        return self._threads.submit(self._call, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As of any executor. `cancel_futures` also ends the processes that are at work."""
        if cancel_futures:
            with self._lock:
                self._is_stopped = True
                for worker in self._all:
                    worker.process.terminate()
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            for worker in list(self._all):
                self._remove(worker)

    def _call(self, fn: Callable[..., T], args: Any, kwargs: Any) -> T:
        """Have one of the processes do a call; in a thread."""
        worker = self._take()
        is_alive = True
        try:
            worker.connection.send((fn, args, kwargs))
            value, error = worker.connection.recv()
        except (EOFError, OSError):
            is_alive = False
            raise WorkerDied("worker died") from None
        finally:
            self._idle.append(worker) if is_alive else self._remove(worker)
        if error is not None:
            raise error
        result: T = value
        return result

    def _take(self) -> _Worker:
        with self._lock:
            if self._is_stopped:
                raise WorkerDied("the executor is closed")
            if self._idle:
                return self._idle.pop()
            worker = _Worker(*start_process(_serve, start_method=self._start_method))
            self._all.add(worker)
            return worker

    def _remove(self, worker: _Worker) -> None:
        with self._lock:
            self._all.discard(worker)
        worker.connection.close()
        worker.process.terminate()
        worker.process.join()
        worker.process.close()


class _Worker(NamedTuple):
    """A process, and our end of the pipe to it."""

    connection: Connection
    process: BaseProcess


def start_process(
    serve: Callable[..., None], *args: object, start_method: StartMethod
) -> tuple[Connection, BaseProcess]:
    """Start a process deaf to Ctrl-C that runs `serve(connection, *args)`: our end, and it."""
    context = get_context(start_method)
    resource_tracker.ensure_running()  # it unblocks SIGINT once it has started, so it must have
    ours, theirs = context.Pipe()
    process = context.Process(  # type: ignore[attr-defined]
        target=_deaf, args=(serve, theirs, *args), daemon=True
    )
    with _without_interrupts(), _without_main():
        process.start()
    theirs.close()
    return ours, process


def _deaf(serve: Callable[..., None], *args: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    serve(*args)


def _end_with_parent() -> None:
    """A worker whose study is gone, killed perhaps, has nobody to answer."""
    parent = parent_process()
    assert parent is not None, "only started processes serve"
    wait_for([parent.sentinel])
    os._exit(1)


def _block_interrupts() -> None:
    """Leave Ctrl-C to the main thread."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
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


def _serve(connection: Connection) -> None:
    """Do calls until the other end is closed."""
    while True:
        try:
            fn, args, kwargs = connection.recv()
        except EOFError:
            return
        connection.send(_outcome(fn, args, kwargs))


def _outcome(fn: Callable[..., object], args: Any, kwargs: Any) -> tuple[object, Exception | None]:
    try:
        return fn(*args, **kwargs), None
    except Exception as error:
        return None, error
