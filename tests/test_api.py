"""The Python door gives what the commands give, and costs nothing until it is used."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.commands import Invoke, invoker

import orbitflow as of
from orbitflow.api import frames
from orbitflow.api.frames import column, columns_of, frame_of
from orbitflow.api.options import Options, config_of
from orbitflow.config import Fidelity, RunConfig
from orbitflow.errors import PolicyNameError, ProfileError, TraceError, UserError
from orbitflow.policy.no_offload import NoOffload
from orbitflow.results.request_result import RequestResult

FEW: dict[str, Any] = {"num_requests": 8, "kv_capacity_tokens": 4000}
FEW_WORDS = ("--num-requests", "8", "--kv-capacity-tokens", "4000")
REQUESTS = [of.Request(0, 0.0, 900, 12), of.Request(1, 0.4, 300, 7), of.Request(2, 0.5, 40, 1)]


class Mine(NoOffload):
    """A policy of a module that workers can import."""

    name = "mine"

    def __init__(self, mark: str = "") -> None:
        self.mark = mark


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Invoke:
    return invoker(monkeypatch, capfd)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    """All files of a run folder but the one with wall-clock times."""
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name != "env.json"}


# The import


def test_the_import_loads_nothing() -> None:
    code = (
        "import sys; before = set(sys.modules); import orbitflow as of\n"
        "print(*sorted(m for m in set(sys.modules) - before if '.' not in m or 'orbitflow' in m))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "numpy" not in done.stdout.split()
    assert [name for name in done.stdout.split() if "orbitflow" in name] == ["orbitflow"]


@pytest.mark.parametrize("name", of.__all__)
def test_all_that_is_offered_is_there(name: str) -> None:
    assert getattr(of, name) is not None
    assert name in dir(of)


def test_editors_see_what_there_is() -> None:
    """What is imported for types is what is loaded when asked for."""
    text = Path(of.__file__).read_text()
    for home, names in of._HOMES.items():
        for name in names:
            assert f"    from {home} import {name} as {name}\n" in text
            assert importlib.import_module(home).__dict__[name] is getattr(of, name)
    assert text.count(" as ") - text.count("import orbitflow as of") == len(of._HOME_OF)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        of.simulat  # type: ignore[attr-defined]  # noqa: B018


# simulate and the command


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"slo_scale": 2, "seed": 3}, ("--slo-scale", "2", "--seed", "3")),
        (
            {"slo_tbt_s": "90ms", "host_memory_bytes": "20GiB", "fidelity": "layer"},
            ("--slo-tbt", "90ms", "--host-memory", "20GiB", "--fidelity", "layer"),
        ),
        (
            {"timeline": True, "max_batch": np.int64(3), "host_memory_bytes": 64e9},
            ("--timeline", "--max-batch", "3", "--host-memory", "64GB"),
        ),
        (
            {"profile": "a100-80gb-roofline", "bound": True},
            ("--profile", "a100-80gb-roofline", "--bound"),
        ),
    ],
)
def test_a_folder_holds_what_the_command_writes(
    here: Path, invoke: Invoke, options: dict[str, Any], words: tuple[str, ...]
) -> None:
    policies = ["no-offload", "dynamic"]
    named = [word for policy in policies for word in ("--policy", policy)]
    done = invoke("sim", "--trace", "demo", *named, *FEW_WORDS, *words, "--out", "command", "-q")
    assert done.code == 0, done.err
    result = of.simulate("demo", policies, out="function", **FEW, **options)
    assert files(here / "function") == files(here / "command")
    assert len(files(here / "function")) >= 10
    assert result.path == Path("function")
    env = json.loads((here / "function/env.json").read_text())
    assert env["policy_wall_s"].keys() == set(policies)


def test_without_a_folder_the_same_figures_and_no_file(here: Path) -> None:
    kept = of.simulate("demo", ["no-offload", "dynamic"], **FEW)
    assert list(here.iterdir()) == []
    written = of.simulate("demo", ["no-offload", "dynamic"], out="run", **FEW)
    read = of.load_run("run")
    assert kept.content == written.content == read.content
    assert kept.content == json.loads((here / "run/summary.json").read_text())
    assert repr(kept) == repr(written) == repr(read)
    for policy in kept.policies:
        for table in ("requests", "steps"):
            columns = [getattr(r, table)(policy, "numpy") for r in (kept, written, read)]
            for other in columns[1:]:
                assert columns[0].keys() == other.keys()
                for name, values in columns[0].items():
                    np.testing.assert_array_equal(values, other[name], err_msg=name)


def test_requests_and_steps_are_those_of_the_files(here: Path) -> None:
    trace = [*REQUESTS, of.Request(3, 0.6, 50_000, 3)]  # the last one never fits
    result = of.simulate(trace, "no-offload", kv_capacity_tokens=4000, out="run")
    found = result.requests("no-offload", "numpy")
    text = Path("run/no-offload/requests.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    assert list(found) == list(RequestResult._fields) == list(rows[0])
    assert {row["status"] for row in rows} == {"completed", "failed"}
    for name, values in found.items():
        for value, row in zip(values.tolist(), rows, strict=True):
            same = row[name] is None and value != value
            assert same or value == row[name], name
    kinds = {name: values.dtype.kind for name, values in found.items()}
    assert kinds["id"] == kinds["late_tokens"] == "i"
    assert kinds["ttft_s"] == "f"
    assert kinds["meets_ttft"] == "b"
    with np.load("run/no-offload/steps.npz") as steps:
        assert list(result.steps("no-offload", "numpy")) == steps.files


def test_traces_and_profiles_that_are_here_already() -> None:
    by_name = of.simulate("azure_conv", "dynamic", profile="a5000-llama3-8b-paper", num_requests=30)
    trace = of.load_trace("azure_conv", num_requests=30)
    profile = of.load_profile("a5000-llama3-8b-paper")
    assert of.simulate(trace, "dynamic", profile=profile).content == by_name.content
    cut = of.simulate(of.load_trace("azure_conv"), "dynamic", profile=profile, num_requests=30)
    assert cut.content == by_name.content
    assert by_name.notices


def test_requests_are_sorted_and_counted_from_the_first() -> None:
    late = [r._replace(arrival_s=r.arrival_s + 7, id=9 - r.id) for r in reversed(REQUESTS)]
    plain, moved = (of.simulate(t, "dynamic", slo_scale=2) for t in (REQUESTS, late))
    assert plain.content == moved.content
    assert plain.summary.trace.requests == 3


def test_a_written_trace_is_the_same(here: Path) -> None:
    trace = of.load_trace("demo", num_requests=5)
    of.write_trace(trace, "t.jsonl")
    again = of.load_trace(Path("t.jsonl"))
    assert list(again.requests()) == list(trace.requests())
    with pytest.raises(TraceError, match="exists"):
        of.write_trace(trace, "t.jsonl")


# Options


def test_every_option_of_a_run_is_a_keyword() -> None:
    named = {field.name for field in fields(RunConfig)}
    assert set(Options.__annotations__) == named - {"trace", "policies", "profile"}


def test_values_are_read_to_the_type() -> None:
    options = {"slo_scale": 2, "seed": np.int64(4), "slo_ttft_s": "300ms", "fidelity": "layer"}
    config = config_of("demo", (), None, options | {"gpu_memory_bytes": 24e9, "ring_extra": True})
    assert type(config.slo_scale) is float
    assert type(config.seed) is int
    assert config.slo_ttft_s == 0.3
    assert config.fidelity is Fidelity.LAYER
    assert config.gpu_memory_bytes == 24_000_000_000
    defaults = {field.name: field.default for field in fields(RunConfig)}
    del defaults["trace"], defaults["policies"], defaults["profile"]
    assert config_of("demo", (), None, defaults) == RunConfig("demo")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"slo_scale": "wide"}, "slo_scale: cannot read 'wide': write a number"),
        ({"slo_scale": [1]}, r"slo_scale is \[1\]: write a number"),
        ({"slo_scale": None}, "slo_scale is None: leave it out"),
        ({"slo_scale": -1}, "--slo-scale -1.0 must be above 0"),
        ({"seed": 1.5}, "seed is 1.5: write a whole number"),
        ({"seed": -1}, "--seed -1 must be at least 0"),
        ({"ring_extra": 1}, "ring_extra is 1: write True or False"),
        ({"fidelity": "leyer"}, "fidelity: 'leyer' is none of its values: did you mean layer?"),
        ({"gpu_memory_bytes": "24 parsecs"}, "gpu_memory_bytes: cannot read '24 parsecs'"),
        ({"gpu_memory_bytes": 0.5}, "gpu_memory_bytes is 0.5: write a whole number"),
        ({"timeline": True}, "timeline=True writes a file: add out="),
        ({"num_requests": 0}, "--num-requests 0 must be above 0$"),
        ({"slo_scale": True}, "slo_scale is True: write a number"),
        ({"seed": np.True_}, "seed is .*True.*: write a number"),
        ({"slo_scale": 2, "slo_tbt_s": "60ms"}, "slo_tbt_s stands instead of slo_scale: leave one"),
        (
            {"gpu_memory_bytes": "24GiB", "kv_capacity_tokens": 4000},
            "kv_capacity_tokens stands instead of gpu_memory_bytes: leave one of them out",
        ),
    ],
)
def test_values_that_are_none(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        of.simulate("demo", "dynamic", **options)


def test_an_option_that_is_not_there() -> None:
    with pytest.raises(TypeError, match="no option 'slo_scael': did you mean slo_scale"):
        of.simulate("demo", slo_scael=2)  # type: ignore[call-arg]


def test_inputs_that_are_none(here: Path) -> None:
    with pytest.raises(TraceError, match=r"trace\[1\] is 5"):
        of.simulate([REQUESTS[0], 5], "dynamic")  # type: ignore[list-item]
    for none in (None, 5):
        with pytest.raises(TraceError, match=f"trace is {none}: give a name, a path"):
            of.simulate(none, "dynamic")  # type: ignore[arg-type]
        with pytest.raises(PolicyNameError, match=f"{none} is no policy: give a name"):
            of.simulate("demo", none)  # type: ignore[arg-type]
    with pytest.raises(ProfileError, match="profile is 5: give a name, a path or a Profile"):
        of.simulate("demo", "dynamic", profile=5)  # type: ignore[arg-type]
    with pytest.raises(
        UserError, match=r"prompt_tokens of a request is 10\.5: write a whole number"
    ):
        of.simulate([of.Request(0, 0.0, 10.5, 5)], "dynamic")  # type: ignore[arg-type]
    with pytest.raises(TraceError, match="no requests"):
        of.simulate([], "dynamic")
    with pytest.raises(TraceError, match=r"nowhere\.jsonl: no such file"):
        of.simulate(Path("nowhere.jsonl"), "dynamic")
    with pytest.raises(ProfileError, match="no profile 'a5001'"):
        of.simulate("demo", "dynamic", profile="a5001", out="run")
    profile = of.load_profile("a100-80gb-roofline")
    with pytest.raises(UserError, match="has its model already"):
        of.simulate("demo", "dynamic", profile=profile, model="llama-3-8b")
    assert list(here.iterdir()) == []  # nothing of the refused run is left
    Path("taken").mkdir()
    with pytest.raises(UserError, match="taken exists"):
        of.simulate("demo", "dynamic", out="taken", **FEW)


# Policies


def test_objects_and_classes_are_policies() -> None:
    mine = Mine()
    result = of.simulate("demo", [mine, "no-offload"], **FEW)
    assert result.policies == ("mine", "no-offload")
    twin = dict(result["no-offload"].figures)
    assert result["mine"].figures == twin
    assert not hasattr(mine, "limits"), "a copy ran, not the object"
    assert of.simulate("demo", [mine], **FEW)["mine"].figures == twin
    assert of.simulate("demo", Mine, **FEW)["mine"].figures == twin


class Named(Mine):
    def __init__(self, name: str) -> None:
        self.name = name


class Locked(Mine):
    def __init__(self) -> None:
        self.lines = (line for line in ("",))


@pytest.mark.parametrize(
    ("policies", "said"),
    [
        ([Mine(), Mine("other")], "two policies are called 'mine'"),
        ([Named("orbit")], "calls itself 'orbit', as a built-in does"),
        ([Named("static-7")], "calls itself 'static-7', as a built-in does"),
        ([Named("all")], "calls itself 'all', as a built-in does"),
        ([Named("../up")], "calls itself '../up': write a name of at most 60 letters"),
        ([Named("")], "calls itself ''"),
        ([Named], r"Named cannot be made without arguments \(TypeError"),
        ([Locked()], "Locked cannot be copied for a run .*: give the class"),
        ([3], "3 is no policy: give a name"),
        ([RunConfig], "is no policy"),
        (["dinamic"], "did you mean dynamic"),
    ],
)
def test_policies_that_are_none(policies: list[Any], said: str) -> None:
    with pytest.raises(PolicyNameError, match=said) as refusal:
        of.simulate("demo", policies, **FEW)
    assert "\n" not in str(refusal.value)


def test_a_policy_that_breaks_its_contract_leaves_the_mark(here: Path) -> None:
    class Greedy(Mine):
        name = "greedy"

        def decide(self, view: of.View) -> of.Decision:
            return of.Decision(admit=tuple(r.id for r in view.waiting))

    with pytest.raises(of.PolicyError, match="GPU pages"):
        of.simulate("demo", Greedy, kv_capacity_tokens=4000, out="run")
    assert "GPU pages" in (here / "run/INCOMPLETE").read_text()
    with pytest.raises(UserError, match="did not finish"):
        of.load_run("run")


# Results


def test_a_frame_has_one_row_per_policy() -> None:
    result = of.simulate("demo", ["no-offload", "orbit"], **FEW)
    columns = result.frame("numpy")
    assert columns["policy"].tolist() == ["no-offload", "orbit"]
    assert columns["ttft_s.p95"][1] == result["orbit"].summary.ttft_s.p95
    assert columns["link.h2d_bytes"].dtype == np.int64
    assert columns["deposit"].dtype == np.bool_
    assert not [name for name in columns if "by_length" in name]
    searches = columns["planner.searches"]  # of policies that plan only
    assert np.isnan(searches[0])
    assert searches[1] == result.summary.policies["orbit"].planner.searches
    assert result.summary.policies["no-offload"].planner.searches is None


def test_the_summary_has_every_figure() -> None:
    result = of.simulate("demo", "orbit", bound=True, **FEW)

    def check(typed: Any, content: Any) -> None:
        if isinstance(content, dict):
            for name, value in content.items():
                attribute = "tbt_limit_s" if name == "tau_s" else name
                found = typed[name] if isinstance(typed, dict) else getattr(typed, attribute)
                check(found, value)
        else:
            assert typed == (tuple(content) if isinstance(content, list) else content)

    check(result.summary, result.content)
    assert result.summary.bound is not None
    assert result.summary.bound.timely_share >= (result["orbit"].summary.timely_share or 0)


def test_kinds_of_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    result = of.simulate("demo", ["no-offload", "dynamic"], **FEW)
    for frame in (result.frame, lambda k: result.requests("dynamic", k)):
        columns, pandas, polars = frame("numpy"), frame("pandas"), frame("polars")
        assert isinstance(pandas, pd.DataFrame)
        assert isinstance(polars, pl.DataFrame)
        assert list(columns) == list(pandas.columns) == polars.columns
        for name, values in columns.items():
            if values.dtype == object:
                assert polars[name].to_list() == values.tolist()
            else:
                np.testing.assert_array_equal(pandas[name].to_numpy(), values)
                np.testing.assert_array_equal(polars[name].to_numpy(), values)
    assert isinstance(result.frame(), pd.DataFrame)
    monkeypatch.setattr(frames, "find_spec", lambda name: None if name == "pandas" else name)
    assert isinstance(result.frame(), pl.DataFrame)
    monkeypatch.setattr(frames, "find_spec", lambda name: None)
    assert isinstance(result.frame(), dict)
    with pytest.raises(UserError, match="kind='panda': write 'pandas', 'polars' or 'numpy'"):
        result.frame("panda")  # type: ignore[arg-type]


def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(UserError, match="kind='polars' needs polars: pip install polars"):
        frame_of({}, "polars")


NUMBERS = (st.integers(-(2**62), 2**62), st.floats(allow_nan=False))


@given(st.lists(st.one_of(st.none(), st.booleans(), *NUMBERS, st.text(max_size=3)), min_size=1))
def test_a_column_holds_what_it_was_made_of(values: list[object]) -> None:
    made = column(values)
    assert len(made) == len(values)
    for value, found in zip(values, made.tolist(), strict=True):
        is_rounded = made.dtype == np.float64 and isinstance(value, int)
        expected = float(value) if is_rounded else value  # type: ignore[arg-type]
        assert found == expected or (value is None and (found is None or found != found))


def test_rows_of_different_names() -> None:
    columns = columns_of([{"a": 1}, {"b": "x", "a": 2}])
    assert list(columns) == ["a", "b"]
    assert columns["a"].tolist() == [1, 2]
    assert columns["b"].tolist() == [None, "x"]


def test_a_result_shows_itself() -> None:
    result = of.simulate("demo", ["no-offload", "dynamic"], **FEW)
    lines = repr(result).splitlines()
    assert lines[0].startswith("8 requests of demo on a5000-llama3-8b-paper, TBT limit ")
    assert lines[1].split() == ["no-offload", "dynamic"]
    assert lines[2].startswith("SLO attainment")
    assert repr(result["dynamic"]).splitlines()[1].startswith("SLO attainment")
    html = result._repr_html_()
    assert html.count("<tr>") == len(lines) - 1
    assert "<th>dynamic</th>" in html
    assert len(result) == 2
    assert [p.name for p in result] == ["no-offload", "dynamic"]
    with pytest.raises(KeyError, match="'dinamic' did not run: did you mean dynamic"):
        result["dinamic"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "holds no run: it has no summary"),
        ("{", "is not JSON: line 1"),
        ("[]", "is no run's summary"),
        ('{"schema_version": 1}', "is no run's summary"),
        ('{"schema_version": 9, "orbitflow_version": "7.0"}', "use orbitflow 7.0, that wrote it"),
    ],
)
def test_folders_that_hold_no_run(here: Path, text: str | None, said: str) -> None:
    Path("run").mkdir()
    if text is not None:
        Path("run/summary.json").write_text(text)
    with pytest.raises(UserError, match=said):
        of.load_run("run")


def test_files_that_are_gone_since(here: Path) -> None:
    result = of.simulate("demo", "dynamic", out="run", **FEW)
    Path("run/dynamic/steps.npz").unlink()
    with pytest.raises(UserError, match=r"steps\.npz cannot be read \(No such file"):
        result.steps("dynamic")
    Path("run/dynamic/requests.jsonl").write_text('{"id": 0}\n')
    with pytest.raises(UserError, match=r"requests\.jsonl:1 cannot be read"):
        result.requests("dynamic")
