"""A Ray cluster that is there already, as the driver process sees it.

Ray tries a dead address for minutes and complains on stderr meanwhile, so an address is asked for
an answer first: whether its port is open, then whether the head of a cluster is behind it.
"""

from __future__ import annotations

import importlib.util
import logging
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any, Self

from orbitflow import __version__
from orbitflow.errors import UserError, how_to_install
from orbitflow.study.task import StudyTask, TaskInputs
from orbitflow.study.worker import WorkerDied

AUTO = "auto"
_OPEN_S, _ANSWER_S, _TASK_S = 5.0, 20.0, 120.0


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
        raise UserError(f"--executor ray needs Ray: {how_to_install('ray')}")


def connect(address: str) -> ModuleType:
    """Connect this process to the cluster at `address`. Give Ray.

    Raise a UserError where Ray is not installed or no cluster answers.
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
