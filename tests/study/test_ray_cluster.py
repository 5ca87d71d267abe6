"""A study on a Ray cluster of this machine, started and stopped here: what travels, who dies, what
an interrupt leaves. Workers find their work by its name in this module.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orbitflow.config import RunConfig
from orbitflow.errors import UserError
from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.profile import save
from orbitflow.study import ray_cluster
from orbitflow.study.folder import StudyFolder
from orbitflow.study.grid import read_grid
from orbitflow.study.ray_cluster import RayCluster
from orbitflow.study.ray_executor import RayExecutor
from orbitflow.study.runner import run_on
from orbitflow.study.stored import Row
from orbitflow.study.study import Study, plan_study
from orbitflow.study.task import StudyTask, Work, attempt, do_task

ROOT = Path(__file__).resolve().parents[2]
OUT = Path("out")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two CPUs, with nothing but what a study needs."""
    pytest.importorskip("ray", reason="there is no Ray for this Python")
    folder = Path(tempfile.mkdtemp(prefix="r"))  # its sockets need a short path
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"))),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port=0"),
        *("--node-ip-address=127.0.0.2", "--num-cpus=2", "--include-dashboard=false"),
        *(f"--temp-dir={folder}", "--object-store-memory=80000000"),
    ]
    said = folder / "said"
    with said.open("w") as out:
        head = subprocess.Popen(
            command, env=environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield _address(head, said)
    finally:
        head.terminate()
        try:
            head.wait(30)
        finally:
            if head.poll() is None:
                os.killpg(head.pid, signal.SIGKILL)
                head.wait()
            shutil.rmtree(folder, ignore_errors=True)


def _address(head: subprocess.Popen[bytes], said: Path) -> str:
    for _ in range(600):
        if found := re.search(r"--address='([^']+)'", said.read_text()):
            return found[1]
        assert head.poll() is None, said.read_text()
        time.sleep(0.1)
    raise AssertionError(said.read_text())


def make(*grid: str, profile: str | None = None) -> Study:
    base = RunConfig(trace=str(Path("tiny.jsonl").resolve()), profile=profile)
    return plan_study(base, read_grid(grid, None))


def run(study: Study, executor: RayExecutor, work: Work = do_task) -> list[Row]:
    written: list[Row] = []
    with executor, StudyFolder(OUT, study) as folder:
        run_on(executor, study, folder, on_row=written.append, work=work)
    return written


def elsewhere(task: StudyTask) -> dict[str, object]:
    """As on a machine that has none of the files: they are gone as soon as the tasks are sent."""
    for path in (Path(task.config.trace), Path(task.config.profile or "")):
        for _ in range(600):
            if not path.is_file():
                break
            time.sleep(0.1)
        assert not path.is_file()
    return do_task(task)


def deadly(task: StudyTask) -> dict[str, object]:
    died = Path(task.config.trace).with_name(f"died-{task.config.slo_scale}")
    if task.config.slo_scale == 3 or (task.config.slo_scale == 2 and not died.exists()):
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if task.config.slo_scale == 4:
        raise ZeroDivisionError("by\nzero")
    return {"timely_share": task.config.slo_scale / 10}


def slow(task: StudyTask) -> dict[str, object]:
    if task.config.slo_scale > 1:
        time.sleep(600)
    return {"timely_share": 0.5}


@pytest.mark.slow
def test_figures_are_those_of_this_machine_and_files_travel(address: str) -> None:
    save(resolve_profile("a100-80gb-roofline"), "mine.json")
    study = make("policy=dynamic,orbit", "slo_scale=1,2", profile=str(Path("mine.json").resolve()))
    wanted = {
        job.cell.id: do_task(StudyTask(study.config(job), study.slo(job))) for job in study.jobs()
    }
    with RayExecutor(address) as executor:
        assert executor.workers == 2
        tasks = [StudyTask(study.config(job), study.slo(job)) for job in study.jobs()]
        futures = [executor.submit(attempt, elsewhere, task) for task in tasks]
        Path("tiny.jsonl").unlink()
        Path("mine.json").unlink()
        found = [future.result() for future in futures]
    assert [reply.error for reply in found] == [None] * 4
    assert {
        job.cell.id: reply.figures for job, reply in zip(study.jobs(), found, strict=True)
    } == wanted


@pytest.mark.slow
def test_a_worker_that_dies_is_tried_once_more(address: str) -> None:
    rows = run(make("slo_scale=1,2,3,4", "policy=dynamic"), RayExecutor(address, 1), deadly)
    found: dict[float, list[str | None]] = {}
    for row in rows:
        found.setdefault(row["cell"]["slo_scale"], []).append(row["error"])
    assert found == {
        1: [None],
        2: ["worker died", None],
        3: ["worker died", "worker died"],
        4: ["ZeroDivisionError: by zero"],
    }


@pytest.mark.slow
def test_an_interrupt_frees_the_cluster_and_the_study_goes_on(address: str) -> None:
    """Two tasks of ten minutes have both CPUs; the next run would wait for them in vain."""

    def interrupt(_: Row) -> None:
        raise KeyboardInterrupt

    study = make("slo_scale=1,2,3", "policy=dynamic")
    with (
        pytest.raises(KeyboardInterrupt),
        RayExecutor(address, 3) as executor,
        StudyFolder(OUT, study) as folder,
    ):
        run_on(executor, study, folder, on_row=interrupt, work=slow)
    environment = {**os.environ, "RAY_ADDRESS": address}
    command = [
        *(sys.executable, "-m", "orbitflow", "study", "run", "--trace", "tiny.jsonl", "--quiet"),
        *("--grid", "slo_scale=1,2,3", "--grid", "policy=dynamic", "--executor", "ray"),
    ]
    again = subprocess.run(
        [*command, "--out", "new"], env=environment, capture_output=True, text=True, check=False
    )
    assert (again.returncode, again.stderr) == (0, "")
    rows = [json.loads(line) for line in Path("new/cells.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows] == ["ok"] * 3


@pytest.mark.slow
def test_another_version_on_the_workers_is_told(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orbitflow.study.ray_cluster.__version__", "9.9")
    with pytest.raises(UserError, match=r"a worker has orbitflow [0-9.]+, this is 9\.9: install"):
        RayCluster(address)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where somebody listens and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_where_nobody_or_somebody_else_answers(
    silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="there is no Ray for this Python")
    monkeypatch.setattr(ray_cluster, "_ANSWER_S", 0.5)
    with pytest.raises(
        UserError, match=r"no Ray cluster answers .nothing that Ray knows in 0\.5 s"
    ):
        ray_cluster.connect(f"127.0.0.1:{silent_port}")
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    with pytest.raises(UserError, match=r"no Ray cluster answers .Connection refused.*ray start"):
        ray_cluster.connect(f"127.0.0.1:{free}")


@pytest.mark.parametrize("text", ["", "here", "ray://127.0.0.1:10001", "127.0.0.1:", ":6379"])
def test_what_is_no_address(text: str) -> None:
    pytest.importorskip("ray", reason="there is no Ray for this Python")
    with pytest.raises(UserError, match="is not host:port"):
        ray_cluster.connect(text)


def test_without_ray_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from orbitflow.cli import main

    monkeypatch.setitem(sys.modules, "ray", None)
    for more, said in (
        (["--executor", "ray"], "--executor ray needs Ray: pip install -e '.[ray]'"),
        (["--ray-address", "auto"], "--ray-address is for --executor ray"),
    ):
        words = ["study", "run", "--trace", "tiny.jsonl", "--grid", "slo_scale=1,2", *more]
        monkeypatch.setattr("sys.argv", ["orbitflow", *words])
        with pytest.raises(SystemExit) as exit_:
            main()
        assert exit_.value.code == 2
        err = capsys.readouterr().err
        assert said in err
        assert len(err.splitlines()) == 1
    assert [path.name for path in Path().iterdir()] == ["tiny.jsonl"]
