"""Tasks on a Ray cluster that is there already, one CPU each.

Workers read no files of this machine: each trace and profile of a study travels to the cluster's
object store once, and tasks refer to it. A worker that dies, or its node, takes its own task down.
Leaving the cluster stops what is under way: to cancel tasks one by one races with their replies,
and Ray 2.60 aborts the process that does so.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from orbitflow import __version__
from orbitflow.config import RunConfig
from orbitflow.errors import UserError
from orbitflow.machine.catalog import DEFAULT_PROFILE, resolve_profile
from orbitflow.study.ray_cluster import connect, disconnect, import_ray
from orbitflow.study.study import read
from orbitflow.study.task import Reply, StudyTask, TaskInputs, attempt, do_task
from orbitflow.study.worker import DIED

if TYPE_CHECKING:
    from ray import ObjectRef

K = TypeVar("K")
RayWork: TypeAlias = Callable[[StudyTask, TaskInputs], dict[str, object]]
_ANSWER_S = 120.0


class RayLanes(Generic[K]):
    """At most `workers` tasks on the cluster at `address`, or as many as it has CPUs.

    Raise a UserError where Ray is not installed, no cluster answers, or its workers cannot run this
    version of OrbitFlow.
    """

    def __init__(self, address: str, workers: int | None, work: RayWork = do_task) -> None:
        self._ray = ray = import_ray()
        self._work = work
        self._keys: dict[ObjectRef[Any], K] = {}
        self._inputs: dict[tuple[object, ...], ObjectRef[Any]] = {}
        connect(address)
        try:
            self._remote = ray.remote(num_cpus=1, max_retries=0)(_serve)
            self._check_workers()
            self.workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        except BaseException:
            disconnect()
            raise

    def __enter__(self) -> RayLanes[K]:
        return self

    def __exit__(self, *_: object) -> None:
        self._keys.clear()
        self._inputs.clear()
        disconnect()

    @property
    def has_room(self) -> bool:
        """Whether another task can be given."""
        return len(self._keys) < self.workers

    @property
    def is_busy(self) -> bool:
        """Whether a reply is to come."""
        return bool(self._keys)

    def ship(self, config: RunConfig) -> ObjectRef[Any]:
        """Send what a configuration names to the cluster, once."""
        names = (config.trace, config.num_requests, config.profile, config.model)
        if names not in self._inputs:
            profile = resolve_profile(config.profile or DEFAULT_PROFILE, config.model)
            inputs = TaskInputs(read(config.trace, config.num_requests), profile)
            self._inputs[names] = self._ray.put(inputs)
        return self._inputs[names]

    def give(self, key: K, task: StudyTask) -> None:
        """Have a task done; its reply comes with `key`."""
        ref = self._remote.remote(__version__, self._work, task, self.ship(task.config))
        self._keys[ref] = key

    def take(self) -> list[tuple[K, Reply]]:
        """Wait for replies."""
        ready, _ = self._ray.wait(list(self._keys), num_returns=1)
        return [(self._keys.pop(ref), self._reply(ref)) for ref in ready]

    def _check_workers(self) -> None:
        """One task for nothing, to learn whether workers can do any."""
        ray = self._ray
        probe = self._remote.remote(__version__, None, None, None)
        try:
            reply = ray.get(probe, timeout=_ANSWER_S)
        except ray.exceptions.GetTimeoutError:
            raise UserError(
                f"--executor ray: no task of one CPU was started in {_ANSWER_S:g} s: is the whole "
                "cluster busy? See `ray status`"
            ) from None
        except ray.exceptions.RayError as error:
            raise UserError(
                f"--executor ray: workers cannot run OrbitFlow ({_cause(error)}): install "
                f"orbitflow {__version__} on every node"
            ) from None
        if reply.error is not None:
            raise UserError(f"--executor ray: {reply.error}")

    def _reply(self, ref: ObjectRef[Any]) -> Reply:
        try:
            reply = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            if isinstance(error, self._ray.exceptions.RayTaskError):
                return Reply(None, _cause(error))
            return DIED
        assert isinstance(reply, Reply)
        return reply


def lost(address: str) -> str:
    """What to say when the cluster is gone."""
    return (
        f"--ray-address {address}: the Ray cluster is lost, and what was under way on it: start "
        "one again, or leave --executor ray out"
    )


def _serve(
    version: str, work: RayWork | None, task: StudyTask | None, inputs: TaskInputs | None
) -> Reply:
    """Do a task on a worker of the same version; without one, say whether it could."""
    if version != __version__:
        return Reply(
            None,
            f"a worker has orbitflow {__version__}, this is {version}: install the same on every "
            "node",
        )
    if work is None or task is None or inputs is None:
        return Reply({}, None)
    return attempt(partial(work, task, inputs))


def _cause(error: Exception) -> str:
    """The last line of a stack: what was raised on the worker."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
