"""Tasks on a Ray cluster that is there already, one CPU each, behind the executor interface.

The driver of the cluster is a process of its own: Ray ends a process that has lost its cluster from
inside C++, without an exception. Here such an end is an error in one line, and the study folder is
closed as after any other. Nodes read no files of this machine: the inputs of a task travel to the
cluster's object store once, and tasks refer to them.

    to the driver: (number, function, arguments, key of the inputs, inputs the first time) | None
    from it: CPUs, then (number, value, error) as tasks end; an OrbitFlowError if it gives up
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Hashable
from concurrent import futures
from concurrent.futures import Future
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

from orbitflow.errors import OrbitFlowError, UserError
from orbitflow.study.ray_cluster import RayCluster
from orbitflow.study.task import StudyTask, one_line
from orbitflow.study.worker import StartMethod, StudyExecutor, start_process

_LEAVE_S = 10.0
P = ParamSpec("P")
T = TypeVar("T")


class RayExecutor(StudyExecutor):
    """At most `workers` calls on the cluster at `address`, or as many as it has CPUs.

    Raise a UserError where Ray is not installed, no cluster answers, or its workers cannot run this
    version of OrbitFlow. Futures, and later calls, raise an OrbitFlowError if the cluster is lost,
    WorkerDied if only the process of a call is gone.
    """

    def __init__(
        self,
        address: str,
        workers: int | None = None,
        *,
        open_cluster: Callable[[str], RayCluster] | None = None,
        start_method: StartMethod = "spawn",
    ) -> None:
        self._lost_line = (
            f"--ray-address {address}: the Ray cluster is lost, and what was under way on it: "
            "start one again, or leave --executor ray out"
        )
        self._lost: OrbitFlowError | None = None
        self._is_closed = False
        self._lock = threading.Lock()
        self._pending: dict[int, Future[Any]] = {}
        self._numbers = itertools.count()
        self._shipped: set[Hashable] = set()
        self._connection, self._process = start_process(
            _drive, open_cluster or RayCluster, address, start_method=start_method
        )
        try:
            cpus = self._received()
        except BaseException:
            self._stop()
            self._connection.close()
            raise
        self.workers = workers or cpus
        self._reader = threading.Thread(target=self._receive, daemon=True)
        self._reader.start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a call done. The inputs of a StudyTask among its arguments travel with it."""
        tasks = [arg for arg in args if isinstance(arg, StudyTask)]
        key = tasks[0].input_names if tasks else None
        inputs = tasks[0].read_inputs() if tasks and key not in self._shipped else None
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            if self._is_closed:
                raise RuntimeError("cannot have a call done after shutdown")
            if self._lost is not None:
                raise self._lost
            number = next(self._numbers)
            self._pending[number] = future
            self._shipped.add(key)
            with contextlib.suppress(OSError):  # it is gone: the reader tells
                self._connection.send((number, partial(fn, **kwargs), args, key, inputs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As of any executor. `cancel_futures` also stops what is under way on the cluster."""
        if wait and not cancel_futures:
            futures.wait(list(self._pending.values()))
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._stop()
        self._reader.join()
        self._connection.close()

    def _received(self) -> Any:
        """The next message. Raise what the driver gave up with."""
        try:
            found = self._connection.recv()
        except (EOFError, OSError):
            raise OrbitFlowError(self._lost_line) from None
        if isinstance(found, UserError):
            raise found
        if isinstance(found, OrbitFlowError):
            raise OrbitFlowError(f"{self._lost_line} ({found})")
        return found

    def _receive(self) -> None:
        """Resolve futures until the driver is gone; in a thread."""
        try:
            while True:
                number, value, error = self._received()
                future = self._pending.pop(number)
                future.set_result(value) if error is None else future.set_exception(error)
        except OrbitFlowError as error:
            with self._lock:
                self._lost = error
        for future in self._pending.values():
            future.set_exception(self._lost)
        self._pending.clear()

    def _stop(self) -> None:
        """Have the driver leave, at once if something is under way."""
        with contextlib.suppress(OSError):
            self._connection.send(None)
        if self._pending:
            self._process.terminate()
        self._process.join(_LEAVE_S)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()


def _drive(connection: Connection, open_cluster: Callable[[str], RayCluster], address: str) -> None:
    """Have calls done on the cluster until the other end says that it is over."""
    lock = threading.Lock()

    def answer(number: int, future: Future[Any]) -> None:
        error = future.exception()
        with lock, contextlib.suppress(OSError):
            connection.send((number, None if error else future.result(), error))

    shipped: dict[Hashable, Any] = {None: None}
    try:
        with open_cluster(address) as cluster:
            connection.send(cluster.cpus)
            while (call := connection.recv()) is not None:
                number, fn, args, key, inputs = call
                if inputs is not None:
                    shipped[key] = cluster.put(inputs)
                cluster.submit(fn, args, shipped[key]).add_done_callback(partial(answer, number))
    except EOFError:
        return
    except Exception as error:
        with lock, contextlib.suppress(OSError):
            connection.send(
                error if isinstance(error, UserError) else OrbitFlowError(one_line(error))
            )
