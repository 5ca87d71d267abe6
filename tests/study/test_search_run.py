"""Searches on their way: which trials are proposed, and that a cut in the middle changes nothing.

The work is made up, so that a trial costs nothing; nothing leaves this process.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orbitflow.config import RunConfig
from orbitflow.study.figures import Objective
from orbitflow.study.folder import StudyFolder
from orbitflow.study.keys import Direction, Sampler
from orbitflow.study.search import Search, read_space
from orbitflow.study.search_run import run_search
from orbitflow.study.stored import Row, row_id
from orbitflow.study.study import Study, plan_study
from orbitflow.study.summary import best, ranked, results, summary
from orbitflow.study.task import StudyTask, Work, attempt
from orbitflow.study.worker import StudyExecutor

SPACE = ("token_value=0.01..1:log", "max_batch=1..64", "victim=density,longest")
MakeSearch = Callable[..., Study]


class Inline(StudyExecutor):
    """An executor in this process that does the tasks given so far first or last come first."""

    def __init__(self, work: Work, workers: int, *, reverse: bool = False) -> None:
        self.workers = workers
        self.done: list[StudyTask] = []
        self._work, self._reverse = work, reverse
        self._waiting: list[tuple[Future[Any], StudyTask]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        assert fn is attempt
        future: Future[Any] = Future()
        self.done.append(args[1])
        self._waiting.append((future, args[1]))
        if not self._reverse:
            self._finish()
        elif len(self._waiting) == 1:
            threading.Timer(0.003, self._finish).start()  # after those that follow at once
        return future

    def _finish(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future, task in waiting[::-1]:
            future.set_result(attempt(self._work, task))


@pytest.fixture
def make_search() -> MakeSearch:
    """Plan a search over the small trace."""

    def make(
        sampler: Sampler,
        *,
        trials: int = 20,
        seeds: int = 1,
        seed: int = 0,
        at_once: int = 4,
        vary: tuple[str, ...] = SPACE,
        direction: Direction = Direction.MAX,
    ) -> Study:
        base = RunConfig(trace=str(Path("tiny.jsonl").resolve()), seed=seed)
        goal = Objective("timely_share", direction)
        search = Search(read_space(vary, ["orbitflow"]), sampler, goal, trials, seed, at_once)
        return plan_study(base, search.grid, seeds=seeds, search=search)

    return make


def hill(task: StudyTask) -> dict[str, object]:
    """Best at a batch of 40 and a token value of 0.1; seeds differ a little."""
    config = task.config
    batch, value = config.max_batch or 0, config.token_value
    noise = 0.001 * (config.seed % 3)
    return {"timely_share": 1 - abs(batch - 40) / 100 - abs(value - 0.1) / 10 + noise}


def rugged(task: StudyTask) -> dict[str, object]:
    """The same, where some fail and some have no such figure."""
    batch = task.config.max_batch or 0
    if batch % 5 == 0:
        raise ZeroDivisionError("by zero")
    return {"timely_share": None} if batch % 7 == 0 else hill(task)


def run(
    study: Study, out: Path, work: Work = hill, room: int = 2, *, reverse: bool = False
) -> tuple[Study, list[StudyTask]]:
    """Run or go on with a search. Give it with its trials, and what was run for it."""
    executor = Inline(work, room, reverse=reverse)
    with StudyFolder(out, study) as folder:
        ended = run_search(executor, study, folder, on_row=lambda _: None)
    return ended, executor.done


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "cells.jsonl").read_text().splitlines()]


def written(study: Study, out: Path) -> str:
    with StudyFolder(out, study) as folder:
        return json.dumps(summary(study, results(study, folder.rows)))


@pytest.mark.parametrize("sampler", Sampler)
@pytest.mark.parametrize("work", [hill, rugged])
def test_any_workers_in_any_order_come_to_the_same(
    make_search: MakeSearch, sampler: Sampler, work: Work
) -> None:
    study = make_search(sampler, seeds=2)
    first, done = run(study, Path("one"), work, 1)
    assert len(first.trials) == 20
    assert len(done) == 40
    for room, reverse in ((2, False), (3, True), (8, True)):
        out = Path(f"out-{room}")
        again, _ = run(study, out, work, room, reverse=reverse)
        assert again.trials == first.trials
        assert written(again, out) == written(first, Path("one"))


@pytest.mark.parametrize("sampler", Sampler)
@settings(
    derandomize=True,
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(kept=st.integers(0, 40), torn=st.integers(0, 30))
def test_a_search_cut_after_any_row_goes_on_as_if_it_had_not_been(
    make_search: MakeSearch, sampler: Sampler, kept: int, torn: int
) -> None:
    study = make_search(sampler, seeds=2)
    whole = Path(f"whole-{sampler}")
    if not whole.exists():
        run(study, whole, room=3, reverse=True)
    first = replace(study, trials=run(study, whole)[0].trials)
    lines = (whole / "cells.jsonl").read_bytes().splitlines(keepends=True)
    cut = Path(f"cut-{sampler}-{kept}-{torn}")
    cut.mkdir(exist_ok=True)
    (cut / "study.json").write_bytes((whole / "study.json").read_bytes())
    rest = b"".join(lines[kept:])[:torn].removesuffix(b"\n")
    (cut / "cells.jsonl").write_bytes(b"".join(lines[:kept]) + rest.partition(b"\n")[0])
    again, done = run(study, cut, room=2)
    assert again.trials == first.trials
    assert len(done) == 40 - min(kept, 40)
    assert written(again, cut) == written(first, whole)


def test_another_seed_or_batch_proposes_others(make_search: MakeSearch) -> None:
    tried = {
        run(make_search(Sampler.OPTUNA, seed=seed, at_once=at_once), Path(f"{seed}-{at_once}"))[0]
        .trials
        for seed in (0, 1)
        for at_once in (4, 8)
    }  # fmt: skip
    assert len(tried) == 4


def test_optuna_learns(make_search: MakeSearch) -> None:
    """After ten random trials it keeps to the hill's top, in the direction that is wanted."""
    for direction in Direction:
        study = make_search(Sampler.OPTUNA, trials=40, seed=1, direction=direction)
        out = Path(direction)
        ended, _ = run(study, out)
        values = {row_id(row)[0]: row["figures"]["timely_share"] for row in rows_of(out)}
        reached = [values[cell.id] for cell in ended.trials]
        gain = sum(reached[-20:]) / 20 - sum(reached[:10]) / 10
        assert (gain > 0.05) if direction is Direction.MAX else (gain < -0.05), gain


def test_a_small_space_is_tried_whole_and_no_cell_twice(make_search: MakeSearch) -> None:
    study = make_search(Sampler.OPTUNA, trials=50, vary=("max_batch=1,2,3", "victim=longest"))
    ended, done = run(study, Path("out"))
    assert sorted(int(cell.values["max_batch"]) for cell in ended.trials) == [1, 2, 3]
    assert len(done) == 3


def test_the_best_comes_first_and_what_failed_last(make_search: MakeSearch) -> None:
    study = make_search(Sampler.RANDOM)
    ended, _ = run(study, Path("out"), rugged)
    with StudyFolder(Path("out"), study) as folder:
        found = results(ended, folder.rows)
        content: Any = summary(ended, found)
    goal = study.search.objective if study.search else None
    assert goal is not None
    values = [goal.of(result.figures) for result in ranked(ended, found)]
    known = [value for value in values if value is not None]
    assert known == sorted(known, reverse=True)
    assert None in values
    assert values[len(known) :] == [None] * (len(values) - len(known))
    top = best(ended, found)
    assert top is not None
    assert content["cells"][content["best"]]["cell"] == top.cell.values
    assert content["search"] == study.search.to_json() if study.search else False
    assert set(content["grid"]) == {"policy", "token_value", "max_batch", "victim"}
    assert content["grid"]["max_batch"] == sorted(content["grid"]["max_batch"])


def test_nothing_came_of_it(make_search: MakeSearch) -> None:
    def hopeless(task: StudyTask) -> dict[str, object]:
        raise ZeroDivisionError("by zero")

    study = make_search(Sampler.OPTUNA, trials=6)
    ended, _ = run(study, Path("out"), hopeless)
    with StudyFolder(Path("out"), study) as folder:
        found = results(ended, folder.rows)
        assert best(ended, found) is None
        assert summary(ended, found)["best"] is None
        assert all(row["status"] == "failed" for row in folder.rows.values())


def test_a_search_is_not_gone_on_with_as_another(make_search: MakeSearch) -> None:
    run(make_search(Sampler.RANDOM), Path("out"))
    for other in (
        make_search(Sampler.OPTUNA),
        make_search(Sampler.RANDOM, trials=21),
        make_search(Sampler.RANDOM, direction=Direction.MIN),
        make_search(Sampler.RANDOM, vary=(SPACE[0], "max_batch=1..65", SPACE[2])),
    ):
        with pytest.raises(Exception, match="search"):
            run(other, Path("out"))


def test_values_out_of_range_are_refused_before_anything_runs(make_search: MakeSearch) -> None:
    for sampler in Sampler:
        with pytest.raises(Exception, match=r"--token-value 10000000000.0 must be above 0"):
            make_search(sampler, vary=("token_value=0.1..1e10",))


def test_rows_are_those_of_any_study(make_search: MakeSearch) -> None:
    run(make_search(Sampler.OPTUNA, trials=3), Path("out"))
    row: Row = rows_of(Path("out"))[0]
    assert set(row) == {"cell", "seed", "status", "error", "slo_tbt_s", "figures"}
    assert list(row["cell"]) == ["policy", "token_value", "max_batch", "victim"]
