"""Capacity questions with made-up services: whole answers, seeds, going on, failures.

Workers find the work that a test makes up by its name in this module.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import random
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from orbitflow.config import RunConfig
from orbitflow.errors import ProfileError, UserError
from orbitflow.study.bisection import Crossing
from orbitflow.study.capacity import Ask, CapacityQuestion, plan_capacity
from orbitflow.study.capacity_result import (
    CapacityAnswer,
    CapacityPoint,
    capacity_document,
    read_capacity,
)
from orbitflow.study.capacity_run import answer_capacity, capacity_summary, spread
from orbitflow.study.figures import read_targets
from orbitflow.study.folder import StudyFolder
from orbitflow.study.task import StudyTask, Work

OUT = Path("out")
LIMITS = {"no-offload": 0.7, "dynamic": 3.3}


def make(
    vary: str = "rate-scale", *, seeds: int = 3, target: str = "slo_attainment=0.9", **more: Any
) -> CapacityQuestion:
    base = RunConfig(trace=str(Path("tiny.jsonl").resolve()), policies=tuple(LIMITS), **more)
    return plan_capacity(base, read_targets([target]), vary, seeds=seeds)


def answer(
    question: CapacityQuestion, work: Work, workers: int = 2
) -> tuple[tuple[CapacityAnswer, ...], dict[str, Any], list[tuple[str, CapacityPoint]]]:
    """Answers, the document, and the decisions in the order in which they were told."""
    told: list[tuple[str, CapacityPoint]] = []
    with StudyFolder(OUT, question.study) as folder:
        result = answer_capacity(
            question,
            folder,
            workers=workers,
            on_point=lambda policy, point: told.append((policy, point)),
            work=work,
            start_method="forkserver",
        )
    document = json.loads(json.dumps(capacity_document(question, result)))
    assert read_capacity(document) == result
    return result.answers, document, told


def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (OUT / "cells.jsonl").read_text().splitlines()]


def limit_of(policy: str, seed: int) -> float:
    """Where a seed of a policy stops meeting 0.9."""
    return LIMITS[policy] * math.exp(random.Random(f"{policy} {seed}").gauss(0, 0.1))


def service(task: StudyTask) -> dict[str, object]:
    """Attainment falls smoothly with the rate, for every seed from its own limit."""
    (policy,) = task.config.policies
    assert task.config.rate_scale is not None
    ratio = task.config.rate_scale / limit_of(policy, task.config.seed)
    return {"slo_attainment": min(1.0, 0.9 - 0.5 * math.log(ratio)), "failed": 0}


def mean_is_met(policy: str, rate: float) -> bool:
    values = [min(1.0, 0.9 - 0.5 * math.log(rate / limit_of(policy, s))) for s in range(3)]
    return sum(values) / 3 >= 0.9


def test_the_answers_are_those_of_a_scan() -> None:
    question = make()
    answers, _, _ = answer(question, service)
    for found in answers:
        assert found.outcome == "found"
        assert found.met is not None
        assert found.missed is not None
        met, missed = found.met.value, found.missed.value
        grid = [0.01 * 1.001**i for i in range(9_000)]
        reference = max(rate for rate in grid if mean_is_met(found.policy, rate))
        assert found.answer == met
        assert met <= reference * 1.001
        assert reference < missed
        assert missed / met <= 1.02
        assert found.seeds is not None
        for seed, crossing in enumerate(found.seeds.crossings):
            assert crossing == pytest.approx(limit_of(found.policy, seed), rel=0.011)


def test_the_interval_is_of_the_seeds_logarithms_and_of_what_is_open() -> None:
    crossings = [Crossing(m, m * 1.02, ()) for m in (1.0, 1.1, 1.3)]
    found = spread(crossings)
    logs = [math.log(m) + math.log(1.02) / 2 for m in (1.0, 1.1, 1.3)]
    mean = sum(logs) / 3
    deviation = math.sqrt(sum((x - mean) ** 2 for x in logs) / 2)
    half = 4.3027 * deviation / math.sqrt(3) + math.log(1.02) / 2
    assert found.mean == pytest.approx(math.exp(mean))
    assert found.low == pytest.approx(math.exp(mean - half))
    assert found.high == pytest.approx(math.exp(mean + half))
    partly = spread([*crossings, Crossing(1.0, None, ())])
    assert partly.crossings[3] is None
    assert (partly.mean, partly.low, partly.high) == (None, None, None)


def test_nothing_is_simulated_twice_and_workers_do_not_matter() -> None:
    documents = []
    for workers in (1, 4):
        _, document, told = answer(make(), service, workers)
        documents.append(json.dumps(document))
        simulated = Counter((json.dumps(row["cell"]), row["seed"]) for row in lines())
        assert set(simulated.values()) == {1}
        for policy in LIMITS:
            asked = [point.value for name, point in told if name == policy]
            assert len(asked) == len(set(asked))
        for name in ("cells.jsonl", "study.json"):
            (OUT / name).unlink()
    assert documents[0] == documents[1]


def test_a_search_goes_on_where_it_was_cut() -> None:
    _, whole, _ = answer(make(), service)
    rows = (OUT / "cells.jsonl").read_bytes()
    count = rows.count(b"\n")
    for kept in (rows, rows[: len(rows) // 2], rows[:-1], b""):
        (OUT / "cells.jsonl").write_bytes(kept)
        _, again, _ = answer(make(), service, 1)
        assert again == whole
        simulated = Counter((json.dumps(row["cell"]), row["seed"]) for row in lines())
        assert set(simulated.values()) == {1}
        assert len(lines()) <= count


def test_other_targets_and_brackets_use_the_same_folder() -> None:
    answer(make(), service, 1)
    before = len(lines())
    answers, _, _ = answer(make("rate-scale=0.1..8", target="slo_attainment=0.8"), service, 1)
    assert [found.outcome for found in answers] == ["found", "found"]
    assert len(lines()) > before
    with pytest.raises(UserError, match=r"another study \(it differs in grid\)"):
        answer(make("link-scale"), service)


def nothing(task: StudyTask) -> dict[str, object]:
    return {"slo_attainment": 0.5}


def everything(task: StudyTask) -> dict[str, object]:
    return {"slo_attainment": 1.0}


def test_without_a_crossing_the_answer_is_null() -> None:
    question = make("rate-scale=0.5..2")
    answers, document, _ = answer(question, nothing)
    assert [(a.outcome, a.answer, a.seeds) for a in answers] == [("met_nowhere", None, None)] * 2
    first = document["answers"][0]
    assert first["answer"] is None
    assert first["met"] is None
    assert first["missed"]["value"] == 0.5
    assert first["missed"]["figures"]["slo_attainment"]["mean"] == 0.5
    (OUT / "cells.jsonl").unlink()
    answers, document, _ = answer(question, everything)
    assert [(a.outcome, a.answer) for a in answers] == [("met_everywhere", None)] * 2
    assert document["answers"][0]["met"]["value"] == 2.0


def small_memory(task: StudyTask) -> dict[str, object]:
    """Refused below 20 GB, as by a profile; too slow below 30 GB."""
    memory = task.config.gpu_memory_bytes
    assert memory is not None
    if memory < 20e9:
        raise ProfileError("weights leave no room")
    return {"slo_attainment": 1.0 if memory >= 30e9 else 0.0}


def test_memory_that_cannot_serve_at_all_misses() -> None:
    question = make("gpu-memory=10GB..90GB", seeds=1)
    answers, document, _ = answer(question, small_memory)
    step = question.varied.step
    assert step == math.ceil(16 * 131_072 / 0.9)
    for found in answers:
        assert isinstance(found.answer, int)
        assert 30e9 <= found.answer <= 30e9 * 1.02
        assert found.seeds is None
    tested_points = document["answers"][0]["tested"]
    assert tested_points[-1]["error"] == "ProfileError: weights leave no room"
    assert tested_points[-1]["is_met"] is False


def broken(task: StudyTask) -> dict[str, object]:
    if task.config.policies == ("dynamic",) and task.config.seed == 1:
        raise ZeroDivisionError("by zero")
    return service(task)


def test_a_simulation_that_fails_ends_the_search_of_its_policy_only() -> None:
    answers, document, _ = answer(make(), broken)
    assert [found.outcome for found in answers] == ["found", "failed"]
    assert answers[1].error == "ZeroDivisionError: by zero (seed 1)"
    assert document["answers"][1]["answer"] is None
    answers, _, _ = answer(make(), service)  # the same command tries it again
    assert [found.outcome for found in answers] == ["found", "found"]


def deadly(task: StudyTask) -> dict[str, object]:
    if task.config.policies == ("dynamic",) and task.config.seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return service(task)


def deadly_once(task: StudyTask) -> dict[str, object]:
    with suppress(FileExistsError):
        Path("died").touch(exist_ok=False)  # one of two that come here at once dies, not both
        os.kill(os.getpid(), signal.SIGKILL)
    return service(task)


def test_a_killed_worker_is_made_good_once() -> None:
    _, whole, _ = answer(make(), service)
    (OUT / "cells.jsonl").unlink()
    _, document, _ = answer(make(), deadly_once)
    assert document == whole
    assert [row["error"] for row in lines() if row["status"] != "ok"] == ["worker died"]
    (OUT / "cells.jsonl").unlink()
    answers, _, _ = answer(make(), deadly)
    assert [found.outcome for found in answers] == ["found", "failed"]
    assert answers[1].error == "worker died (seed 1)"


def test_an_interrupt_leaves_what_is_done_and_no_processes() -> None:
    question = make()

    def interrupt(policy: str, point: CapacityPoint) -> None:
        if len(lines()) > 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), StudyFolder(OUT, question.study) as folder:
        answer_capacity(
            question, folder, workers=2, on_point=interrupt, work=service, start_method="forkserver"
        )
    assert len(lines()) > 12
    assert not multiprocessing.active_children()
    answers, _, _ = answer(question, service)
    assert [found.outcome for found in answers] == ["found", "found"]


def test_the_promise_is_the_bases() -> None:
    question = make("gpu-memory", compute_scale=0.5)
    slo = question.study.scenario.slo
    for value in (12_000_000_000, 90_000_000_000):
        for job in question.jobs(Ask("dynamic", value, question.seeds)):
            found = question.study.slo(job)
            assert found.tbt_limit_s == slo.tbt_limit_s
            assert found.cost == question.study.scenario.believed
            assert question.study.config(job).gpu_memory_bytes == value


def test_the_summary_of_the_tested_points_is_a_studys() -> None:
    question = make()
    with StudyFolder(OUT, question.study) as folder:
        result = answer_capacity(
            question,
            folder,
            workers=2,
            on_point=lambda *_: None,
            work=service,
            start_method="forkserver",
        )
        content: Any = capacity_summary(question, folder.rows, result)
    assert all(cell["ok"] == 3 for cell in content["cells"])
    rates = [c["cell"]["rate_scale"] for c in content["cells"] if c["cell"]["policy"] == "dynamic"]
    assert rates == [point.value for point in result.answers[1].tested]
    assert rates


@pytest.mark.parametrize(
    ("vary", "options", "said"),
    [
        ("gpu-memory", {"kv_capacity_tokens": 8000}, "changes nothing"),
        ("seed", {}, "neither easier nor harder"),
        ("rate-scale=1e-12..1", {}, "--rate-scale 1e-12 must be above 0"),
        ("slo-ttft-scale", {"slo_ttft_scale": 0.0}, "write a bracket"),
    ],
)
def test_mistakes_are_refused_before_anything_runs(
    vary: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        make(vary, **options)


def test_a_burst_has_no_rate() -> None:
    line = '{"timestamp": 0, "input_length": 100, "output_length": 5}\n'
    Path("burst.jsonl").write_text(3 * line)
    base = RunConfig(trace="burst.jsonl", policies=("dynamic",))
    targets = read_targets(["slo_attainment=1"])
    with pytest.raises(UserError, match="all requests of burst come at once"):
        plan_capacity(base, targets, "rate-scale", seeds=1)
    question = plan_capacity(base, targets, "link-scale=0.9..1", seeds=1)
    _, document, _ = answer(question, everything)
    assert document["trace"]["requests_per_s"] is None


def test_the_tolerance_has_limits() -> None:
    base = RunConfig(trace="tiny.jsonl")
    for tolerance in (0.0, 0.9, math.nan):
        with pytest.raises(UserError, match="--tolerance"):
            plan_capacity(
                base, read_targets(["failed=0"]), "rate-scale", seeds=1, tolerance=tolerance
            )
