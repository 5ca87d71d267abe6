"""An executor in a process of its own: what takes that process down does not take ours.

Ray ends a process that has lost its cluster from inside C++, without an exception. Here such an end
is an error in one line, and the study folder is closed as after any other.

    ours:   (number, task) | take | leave     theirs: capacity, then replies to each take
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from orbitflow.errors import OrbitFlowError
from orbitflow.study.task import Reply, StudyTask
from orbitflow.study.worker import StartMethod, StudyExecutor, start_worker

K = TypeVar("K")
_TAKE, _LEAVE = "take", "leave"
_LEAVE_S = 10.0


class Sized(StudyExecutor[int], Protocol):
    """An executor that says how many tasks it takes at a time."""

    workers: int


Make: TypeAlias = Callable[[], Sized]


class _Failure(NamedTuple):
    """Why the other process gives up."""

    error: str


class Apart(Generic[K]):
    """The executor that `make` opens, in another process. `lost` is what to say when that process
    is gone. Raise what opening it raised.
    """

    def __init__(self, make: Make, lost: str, start_method: StartMethod = "spawn") -> None:
        self._lost = lost
        self._keys: dict[int, K] = {}
        self._numbers = itertools.count()
        context = get_context(start_method)
        self._connection, self._process = start_worker(context, _serve, make)
        try:
            self._workers = int(self._received())
        except BaseException:
            self._stop()
            raise

    def __enter__(self) -> Apart[K]:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def has_room(self) -> bool:
        """Whether another task can be given."""
        return len(self._keys) < self._workers

    @property
    def is_busy(self) -> bool:
        """Whether a reply is to come."""
        return bool(self._keys)

    def give(self, key: K, task: StudyTask) -> None:
        """Have a task done; its reply comes with `key`."""
        number = next(self._numbers)
        self._keys[number] = key
        with contextlib.suppress(OSError):  # it is gone: taking a reply will tell
            self._connection.send((number, task))

    def take(self) -> list[tuple[K, Reply]]:
        """Wait for replies. Raise an OrbitFlowError if the other process is gone."""
        with contextlib.suppress(OSError):
            self._connection.send(_TAKE)
        return [(self._keys.pop(number), reply) for number, reply in self._received()]

    def _received(self) -> Any:
        try:
            found = self._connection.recv()
        except (EOFError, OSError):
            raise OrbitFlowError(self._lost) from None
        if isinstance(found, OrbitFlowError):
            raise found
        if isinstance(found, _Failure):
            raise OrbitFlowError(f"{self._lost} ({found.error})")
        return found

    def _stop(self) -> None:
        """Have it leave, at once if it is at work."""
        with contextlib.suppress(OSError):
            self._connection.send(_LEAVE)
        if self._keys:
            self._process.terminate()
        self._process.join(_LEAVE_S)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        self._process.close()
        self._connection.close()


def _serve(connection: Connection, make: Make) -> None:
    """Do what the other end asks for until it is closed."""
    try:
        with make() as executor:
            connection.send(executor.workers)
            while (asked := connection.recv()) != _LEAVE:
                if asked == _TAKE:
                    connection.send(executor.take())
                else:
                    executor.give(*asked)
    except EOFError:
        return
    except Exception as error:
        said = _Failure(" ".join(f"{type(error).__name__}: {error}".split()))
        with contextlib.suppress(OSError):
            connection.send(error if isinstance(error, OrbitFlowError) else said)
