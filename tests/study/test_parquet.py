"""`cells.parquet` and `cells.jsonl` as DuckDB and Polars read them."""

from __future__ import annotations

import builtins
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from orbitflow.errors import UserError
from orbitflow.study.folder import StudyFolder
from orbitflow.study.parquet import check_parquet, column_of, write_parquet
from orbitflow.study.runner import run_study
from orbitflow.study.study import Study
from orbitflow.study.task import StudyTask, do_task
from study.conftest import MakeStudy

OUT = Path("out")
TABLE = OUT / "cells.parquet"


def picky(task: StudyTask) -> dict[str, object]:
    if task.config.slo_scale == 2:
        raise ZeroDivisionError("by zero")
    return {"goodput_rps": 3 if task.config.seed else 2.5, "deposit": True, "link.moves": 10**15}


def run(study: Study, work: Any = picky) -> None:
    with StudyFolder(OUT, study) as folder:
        run_study(
            study, folder, workers=1, on_row=lambda _: None, work=work, start_method="forkserver"
        )
        assert write_parquet(study, folder) == TABLE


def test_a_row_per_simulation_and_typed_columns(make_study: MakeStudy) -> None:
    run(make_study("slo_scale=1,2", "policy=dynamic,orbit", "max_batch=4", seeds=2))
    table = pl.read_parquet(TABLE)
    assert table.schema == {
        "slo_scale": pl.Float64,
        "policy": pl.String,
        "max_batch": pl.Int64,
        "seed": pl.Int64,
        "status": pl.String,
        "error": pl.String,
        "slo_tbt_s": pl.Float64,
        "goodput_rps": pl.Float64,
        "figures.deposit": pl.Boolean,
        "link.moves": pl.Int64,
    }
    assert table.height == 8
    assert table.select("slo_scale", "policy", "seed").unique().height == 8
    assert table.filter(pl.col("slo_scale") == 1)["goodput_rps"].to_list() == [2.5, 3.0] * 2
    failed = table.filter(pl.col("status") == "failed")
    assert failed["error"].unique().to_list() == ["ZeroDivisionError: by zero"]
    assert failed["link.moves"].to_list() == [None] * 4
    assert pq.read_schema(TABLE).metadata[b"schema_version"] == b"1"
    assert sorted(path.name for path in OUT.iterdir()) == [
        "cells.jsonl", "cells.parquet", "lock", "study.json",
    ]  # fmt: skip


def test_the_queries_of_the_documentation(make_study: MakeStudy) -> None:
    """One line each on either file; figures of a real simulation."""
    run(make_study("slo_scale=1,2", "policy=dynamic,orbit"), do_task)
    wanted = [
        (row["cell"]["policy"], row["cell"]["slo_scale"], row["figures"]["ttft_s.p95"])
        for row in map(json.loads, (OUT / "cells.jsonl").read_text().splitlines())
    ]
    duck = duckdb.execute("SELECT policy, slo_scale, \"ttft_s.p95\" FROM 'out/cells.parquet'")
    assert sorted(duck.fetchall()) == sorted(wanted)
    duck = duckdb.execute(
        "SELECT cell.policy, cell.slo_scale, figures.\"ttft_s.p95\" FROM 'out/cells.jsonl'"
    )
    assert duck.fetchall() == wanted
    polars = pl.read_parquet("out/cells.parquet").select("policy", "slo_scale", "ttft_s.p95")
    assert sorted(polars.rows()) == sorted(wanted)
    flat = (
        pl.read_ndjson("out/cells.jsonl", infer_schema_length=None)
        .unnest("cell")
        .with_columns(pl.col("figures").name.prefix_fields("figures."))
        .unnest("figures")
    )
    assert flat.select("policy", "slo_scale", "figures.ttft_s.p95").rows() == wanted


def test_bounds_have_no_policy_and_what_is_not_there_no_row(make_study: MakeStudy) -> None:
    study = replace(make_study("slo_scale=1,3", policies=["dynamic"]), bounded=True)
    run(study)
    assert pl.read_parquet(TABLE)["policy"].to_list() == [None, None, "dynamic", "dynamic"]
    with StudyFolder(OUT, study) as folder:
        folder.rows.clear()
        write_parquet(study, folder)
    empty = pl.read_parquet(TABLE)
    assert (empty.height, empty.columns[:3]) == (0, ["policy", "slo_scale", "seed"])


def test_a_seed_and_a_limit_in_the_grid_are_one_column_each(make_study: MakeStudy) -> None:
    run(make_study("seed=3,5", "slo_tbt=100ms", policies=["dynamic"]))
    table = pl.read_parquet(TABLE)
    assert table.select("seed", "slo_tbt_s").rows() == [(3, 0.1), (5, 0.1)]


def test_figures_that_are_called_like_options() -> None:
    assert column_of("deposit") == "figures.deposit"
    assert column_of("timely_share") == "timely_share"
    assert column_of("status") == "figures.status"


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    there = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return there(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=r"pip install -e '\.\[parquet\]'"):
        check_parquet()
