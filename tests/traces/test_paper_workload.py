"""Workloads by the paper's recipe: lengths, arrivals, capacity, names, files."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitflow.cli import main
from orbitflow.errors import TraceError, UserError
from orbitflow.traces import read_trace, resolve
from orbitflow.traces.paper_workload import (
    CENTRES,
    CLASSES,
    MAIN_MIX,
    Recipe,
    base_rate,
    capacity_blocks,
    draw,
    length_class,
    log_normal_gaps,
    paper_name,
    paper_trace,
    peak_blocks,
    read_paper_name,
)
from orbitflow.traces.trace import Trace
from orbitflow.traces.write import write_paper

recipes = st.builds(
    Recipe,
    requests=st.integers(1, 60),
    rate=st.floats(0.1, 10),
    cv=st.floats(0.1, 8),
    batch=st.integers(1, 10),
    context=st.sampled_from([0.25, 1.0, 2.5, 4.0]),
    mix=st.one_of(
        st.just(MAIN_MIX),
        st.dictionaries(st.sampled_from(CLASSES), st.floats(0.01, 9), min_size=1),
    ),
)
seeds = st.integers(0, 10_000)


@given(recipe=recipes, seed=seeds)
def test_a_workload_is_what_its_recipe_says(recipe: Recipe, seed: int) -> None:
    trace = draw(recipe, seed)
    assert len(trace) == recipe.requests
    assert trace.arrival[0] == 0
    assert (trace.arrival == np.rint(trace.arrival)).all()
    assert trace.max_batch == recipe.batch
    allowed = {name for name, weight in recipe.mix.items() if weight > 0}
    for prompt, output in zip(trace.prompt_tokens, trace.output_tokens, strict=True):
        assert min(prompt, output) >= 16
        if recipe.context == 1:
            assert f"{length_class(prompt)}{length_class(output)}" in allowed
    longest = sorted((trace.prompt_tokens + trace.output_tokens).tolist())[-recipe.batch :]
    peak = sum(longest) / 16
    assert trace.kv_capacity_tokens is not None
    assert 0.23 * peak <= trace.kv_capacity_tokens / 16 + 1e-6 < 0.23 * (peak + 1) + 1


@given(recipe=recipes, seed=seeds)
def test_a_name_gives_the_same_workload_again(recipe: Recipe, seed: int) -> None:
    assert read_paper_name(paper_name(recipe, seed)) == (recipe, seed)
    ours, again = draw(recipe, seed), resolve(paper_name(recipe, seed))
    for column in ("arrival", "prompt_tokens", "output_tokens"):
        assert (getattr(ours, column) == getattr(again, column)).all()


@settings(derandomize=True, max_examples=20)
@given(recipe=recipes, seed=seeds)
def test_the_file_reads_back(
    tmp_path_factory: pytest.TempPathFactory, recipe: Recipe, seed: int
) -> None:
    trace, path = draw(recipe, seed), tmp_path_factory.mktemp("paper") / "p.json"
    write_paper(trace, path)
    again = read_trace(path)
    assert again.format == "orbitflow-paper"
    assert again.arrival_unit == "steps"
    for column in ("arrival", "prompt_tokens", "output_tokens"):
        assert (getattr(trace, column) == getattr(again, column)).all()
    assert again.max_batch == trace.max_batch
    assert again.kv_capacity_tokens == trace.kv_capacity_tokens


def test_contexts_four_times_as_long_come_four_times_as_slowly() -> None:
    short, long = draw(Recipe(), 7), draw(Recipe(context=4.0), 7)
    assert (long.prompt_tokens == 4 * short.prompt_tokens).all()
    assert np.abs(long.arrival - 4 * short.arrival).max() <= 2.5  # rounded to whole steps
    assert short.kv_capacity_tokens is not None
    assert long.kv_capacity_tokens is not None
    assert abs(long.kv_capacity_tokens - 4 * short.kv_capacity_tokens) <= 4 * 16


@pytest.mark.parametrize("cv", [0.5, 1.0, 2.0])
def test_gaps_have_their_mean_and_cv(cv: float) -> None:
    gaps = log_normal_gaps(np.random.Generator(np.random.PCG64(3)), 200_000, 0.01, cv)
    assert gaps.mean() == pytest.approx(100, rel=0.02)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05)


def test_classes_do_not_overlap() -> None:
    edges = sorted((0.8 * c, 1.2 * c) for centres in CENTRES.values() for c in centres)
    assert all(high < low for (_, high), (low, _) in pairwise(edges))
    assert (length_class(102), length_class(103), length_class(9831)) == (None, "S", None)


def test_the_authors_main_trace_follows_the_recipe(shared_traces: Path) -> None:
    trace = read_trace(shared_traces / "paper_32k_lambda2.0x_cv1.json")
    assert trace.prompt_tokens.sum() == 86_369
    assert trace.output_tokens.sum() == 177_325
    assert 2 * base_rate(trace.output_tokens) == pytest.approx(5.865e-4, abs=5e-8)
    peak = peak_blocks(trace.prompt_tokens, trace.output_tokens, trace.max_batch or 0)
    assert peak == 2_655
    assert capacity_blocks(peak) * 16 == trace.kv_capacity_tokens == 611 * 16
    found = dict.fromkeys(CLASSES, 0)
    for prompt, output in zip(trace.prompt_tokens, trace.output_tokens, strict=True):
        found[f"{length_class(prompt)}{length_class(output)}"] += 1
    assert found == dict(MAIN_MIX)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("paper:rat=5", "did you mean rate"),
        ("paper:rate", "write key=value"),
        ("paper:rate=fast", "cannot read rate=fast"),
        ("paper:rate=1,rate=2", "given twice"),
        ("paper:rate=0", "must be from 1e-06 to 1e\\+06"),
        ("paper:rate=1e-300", "must be from"),
        ("paper:cv=nan", "must be from"),
        ("paper:context=inf", "must be from"),
        ("paper:requests=0", "must be 1 to"),
        ("paper:batch=0", "at least 1"),
        ("paper:seed=-1", "at least 0"),
        ("paper:mix=XL:1", "is no class"),
        ("paper:mix=SS:0", "no class has a weight"),
        ("paper:mix=LL:1e308", "must be 0 to 1e"),
        ("paper:mix=SS", "cannot read mix=SS"),
    ],
)
def test_wrong_names_are_one_line(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        paper_trace(name)
    assert "\n" not in str(error.value)


def test_a_prefix_of_a_workload() -> None:
    assert len(resolve("paper", limit=5)) == 5
    assert len(resolve("paper:requests=3", limit=5)) == 3


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "p.json"
    arguments = ["orbitflow", "trace", "paper", str(out), "--num-requests", "5", "--mix", "SS:1"]
    for code in (None, 2):
        monkeypatch.setattr("sys.argv", arguments)
        with pytest.raises(SystemExit) as exit_:
            main()
        assert exit_.value.code == code
    assert len(json.loads(out.read_text())["requests"]) == 5
    said = capsys.readouterr().err
    assert "paper:requests=5,mix=SS:1: batch 4, KV capacity" in said
    assert "exists; choose another name" in said


def test_seconds_are_no_steps(small: Trace, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="count steps"):
        write_paper(small, tmp_path / "p.json")
