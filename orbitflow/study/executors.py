"""Where the jobs of a study are done: an executor takes tasks while it has room and gives replies.

Two exist: processes on this machine (`lanes`) and tasks on a Ray cluster (`ray_lanes`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, Self, TypeAlias, TypeVar

from orbitflow.study.task import StudyTask

Work: TypeAlias = Callable[[StudyTask], dict[str, object]]
K = TypeVar("K")


class Reply(NamedTuple):
    """What became of a task: its figures, or the error in one line."""

    figures: dict[str, object] | None
    error: str | None


DIED = Reply(None, "worker died")


class Executor(Protocol[K]):
    """Does tasks, several at a time, until it is closed; then what is under way is stopped."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: Any) -> None: ...

    @property
    def has_room(self) -> bool:
        """Whether another task can be given."""

    @property
    def is_busy(self) -> bool:
        """Whether a reply is to come."""

    def give(self, key: K, task: StudyTask) -> None:
        """Have a task done; its reply comes with `key`."""

    def take(self) -> list[tuple[K, Reply]]:
        """Wait for replies. `DIED` is the reply of a worker that was killed."""


def attempt(work: Callable[[], dict[str, object]]) -> Reply:
    """Do some work; an error becomes a line."""
    try:
        return Reply(work(), None)
    except Exception as error:
        return Reply(None, " ".join(f"{type(error).__name__}: {error}".split()))
