"""Which executor `--executor` means, opened once the study folder is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from orbitflow.cli.progress import usable_cpus
from orbitflow.errors import UserError
from orbitflow.study.keys import ExecutorName
from orbitflow.study.study import Job
from orbitflow.study.task import do_task
from orbitflow.study.worker import StudyExecutor, WorkerPool

OpenExecutor: TypeAlias = Callable[[], StudyExecutor[Job]]


def executor_of(name: ExecutorName, ray_address: str | None, workers: int | None) -> OpenExecutor:
    """What opens the executor. Raise a UserError at once if it needs what is not installed."""
    if name is ExecutorName.LOCAL:
        if ray_address is not None:
            raise UserError("--ray-address is for --executor ray: add it, or leave the address out")
        return lambda: WorkerPool[Job](workers or usable_cpus(), do_task, "spawn")
    from orbitflow.study.ray_cluster import AUTO, check_ray
    from orbitflow.study.ray_executor import Apart, RayExecutor, lost

    check_ray()
    address = ray_address or os.environ.get("RAY_ADDRESS") or AUTO
    return lambda: Apart[Job](partial(RayExecutor[int], address, workers), lost(address))
