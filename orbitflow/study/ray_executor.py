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
import importlib.util
import itertools
import logging
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Hashable
from concurrent import futures
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any, ParamSpec, Self, TypeVar

from orbitflow import __version__
from orbitflow.errors import OrbitFlowError, UserError
from orbitflow.study.task import StudyTask, TaskInputs, one_line
from orbitflow.study.worker import StartMethod, StudyExecutor, WorkerDied, start_process

AUTO = "auto"
_OPEN_S, _ANSWER_S, _TASK_S, _LEAVE_S = 5.0, 20.0, 120.0, 10.0
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


class RayCluster:
    """The cluster at `address`: host:port, or the one that runs here.

    Leaving it stops what is under way. To cancel tasks one by one races with their replies, and Ray
    2.60 aborts the process that does so. Raise a UserError where no task of ours can be done.
    """

    def __init__(self, address: str) -> None:
        self._ray = ray = connect(address)
        try:
            self._remote = ray.remote(num_cpus=1, max_retries=0)(_on_node)
            self._check_workers()
            self.cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
        except BaseException:
            ray.shutdown()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def put(self, inputs: TaskInputs) -> Any:
        """Send inputs to the object store; give the reference to them."""
        return self._ray.put(inputs)

    def submit(self, fn: Callable[..., Any], args: Any, inputs: Any) -> Future[Any]:
        """Have a call done on some node."""
        answer: Future[Any] = Future()
        reference = self._remote.remote(__version__, fn, args, inputs)
        reference.future().add_done_callback(partial(self._settle, answer))
        return answer

    def _settle(self, answer: Future[Any], found: Future[Any]) -> None:
        errors = self._ray.exceptions
        error = found.exception()
        value, problem = (None, None) if error else found.result()
        if isinstance(error, errors.RayError) and not isinstance(error, errors.RayTaskError):
            answer.set_exception(WorkerDied("worker died"))
        elif error is not None or problem is not None:
            answer.set_exception(RuntimeError(problem or _line(error, -1)))
        else:
            answer.set_result(value)

    def _check_workers(self) -> None:
        """Have one task for nothing done, to learn whether workers can do any."""
        ray = self._ray
        try:
            probe = self._remote.remote(__version__, None, (), None)
            _, problem = ray.get(probe, timeout=_TASK_S)
        except ray.exceptions.GetTimeoutError:
            raise UserError(
                f"--executor ray: no task of one CPU was started in {_TASK_S:g} s: is the whole "
                "cluster busy? See `ray status`"
            ) from None
        except ray.exceptions.RayError as error:
            raise UserError(
                f"--executor ray: workers cannot run OrbitFlow ({_line(error, -1)}): install "
                f"orbitflow {__version__} on every node"
            ) from None
        if problem is not None:
            raise UserError(f"--executor ray: {problem}")


def _on_node(
    version: str, fn: Callable[..., Any] | None, args: Any, inputs: TaskInputs | None
) -> tuple[Any, str | None]:
    """Do a call on a node of the same version: its value, or why not. Without one, only check."""
    if version != __version__:
        theirs = f"a worker has orbitflow {__version__}, this is {version}"
        return None, f"{theirs}: install the same on every node"
    if fn is None:
        return None, None
    loaded = [replace(a, inputs=inputs) if isinstance(a, StudyTask) else a for a in args]
    return fn(*loaded), None


def check_ray() -> None:
    """Raise a UserError that names the extra if Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise UserError("--executor ray needs Ray: pip install 'orbitflow[ray]'")


def connect(address: str) -> ModuleType:
    """Connect this process to the cluster at `address`. Give Ray.

    Ray itself tries a dead address for minutes and complains on stderr, so the address is asked
    first. Raise a UserError where Ray is not installed or no cluster answers.
    """
    check_ray()
    import ray

    if ray.is_initialized():
        raise UserError("--executor ray: this process is connected to a Ray cluster already")
    if address != AUTO:
        _check_answer(address)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of changes to come in Ray
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise _no_answer(address, _line(error, 0).rstrip(".:")) from None
    module: ModuleType = ray
    return module


def _check_answer(address: str) -> None:
    """Ask whether the port is open, and whether the head of a cluster is behind it."""
    host, colon, port = address.rpartition(":")
    if not (colon and host and "/" not in host and port.isascii() and port.isdigit()):
        raise UserError(
            f"--ray-address {address} is not host:port: give the address that `ray start --head` "
            "printed, or auto on a node of the cluster"
        )
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--skip-version-check"]
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_OPEN_S).close()
        subprocess.run(
            [*command, "--address", address], capture_output=True, timeout=_ANSWER_S, check=True
        )
    except subprocess.TimeoutExpired:
        raise _no_answer(address, f"nothing that Ray knows in {_ANSWER_S:g} s") from None
    except subprocess.CalledProcessError:
        raise _no_answer(address, "it is not healthy") from None
    except (OSError, OverflowError) as error:
        raise _no_answer(address, getattr(error, "strerror", None) or str(error)) from None


def _no_answer(address: str, why: str) -> UserError:
    return UserError(
        f"--ray-address {address}: no Ray cluster answers ({why}): start one with `ray start "
        "--head` and give the address that it prints, or leave --executor ray out"
    )


def _line(error: BaseException | None, number: int) -> str:
    """A line of what an error says. The last one of a stack is what was raised on the worker."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[number] if lines else type(error).__name__
