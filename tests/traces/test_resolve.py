"""From a name to a trace: a file, the checked cache, the twin, or the way to get it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orbitflow.errors import TraceError
from orbitflow.traces import Trace, resolve, write_canonical
from orbitflow.traces.public import PUBLIC_TRACES, cache_dir


@pytest.fixture(autouse=True)
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and a cache that is empty too."""
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("ORBITFLOW_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return place


def test_a_file_comes_first(small: Trace, empty_place: Path) -> None:
    write_canonical(small, empty_place / "azure_conv.jsonl")
    trace = resolve("azure_conv.jsonl")
    assert len(trace) == 3
    assert trace.source == "azure_conv.jsonl (canonical)"


@pytest.mark.parametrize(
    "name",
    ["azure_conv", "azure_conv.jsonl", "azure_conv.csv", "azure_conv_2023", "Azure_Conv.jsonl"],
)
def test_azure_conv_works_without_a_network(name: str) -> None:
    trace = resolve(name)
    assert trace.name == "azure_conv"
    assert trace.format == "synthetic"
    assert trace.source.startswith("synthetic twin of Azure Public Dataset")
    assert trace.source.endswith("(seed 0)")
    assert "using the bundled synthetic twin" in trace.notices[0]
    assert "KS to the real one: input 0.00" in trace.notices[0]
    assert "`orbitflow trace fetch azure_conv` gets the real trace" in trace.notices[1]


def test_the_cache_is_used_where_its_checksum_is_right(shared_traces: Path) -> None:
    shutil.copy(shared_traces / "azure_conv_2023.csv", cache_dir() / "azure_conv.csv")
    trace = resolve("azure_conv.jsonl")
    assert len(trace) == 19_366
    assert trace.format == "azure-2023"
    assert trace.name == "azure_conv"
    assert "sha256 verified" in trace.notices[0]


def test_mooncake_from_the_cache(shared_traces: Path) -> None:
    shutil.copy(shared_traces / "mooncake_conversation.jsonl", cache_dir() / "mooncake.jsonl")
    assert len(resolve("mooncake")) == 12_031


def test_a_damaged_cache_is_refused() -> None:
    (cache_dir() / "azure_conv.csv").write_text("truncated")
    message = (
        r"azure_conv\.csv: sha256 is .* expected 2f1e5b666d4e.*`orbitflow trace fetch azure_conv`"
    )
    with pytest.raises(TraceError, match=message):
        resolve("azure_conv")


def test_mooncake_says_how_to_get_it() -> None:
    message = "mooncake is not on this machine; `orbitflow trace fetch mooncake` gets it"
    with pytest.raises(TraceError, match=message):
        resolve("mooncake.jsonl")


@pytest.mark.parametrize("limit", [1, 100, 30_000])
def test_a_limit_takes_the_first_of_anything(
    limit: int, shared_traces: Path, empty_place: Path
) -> None:
    whole = resolve("azure_conv")
    first = list(whole.requests())[:limit]
    assert list(resolve("azure_conv", limit=limit).requests()) == first
    shutil.copy(shared_traces / "azure_conv_2023.csv", cache_dir() / "azure_conv.csv")
    first = list(resolve("azure_conv").requests())[:limit]
    assert list(resolve("azure_conv", limit=limit).requests()) == first
    path = str(cache_dir() / "azure_conv.csv")
    assert list(resolve(path, limit=limit).requests()) == first


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mooncacke", "no such file, nor the name of a trace; did you mean mooncake"),
        ("data/azure_conv.jsonl", "no such file"),
        ("~nobody_of_that_name/x", "no such file"),
        ("x" * 5000, "no such file"),
        ("nul\0byte", "no such file"),
        ("", "no trace named"),
    ],
)
def test_strangers(name: str, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        resolve(name)


def test_a_folder(empty_place: Path) -> None:
    with pytest.raises(TraceError, match="is a folder"):
        resolve(str(empty_place))


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_dir().name == "cache"
    monkeypatch.delenv("ORBITFLOW_CACHE")
    assert cache_dir() == Path("/xdg/orbitflow")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/somebody")
    assert cache_dir() == Path("/somebody/.cache/orbitflow")


def test_public_traces_are_distinct() -> None:
    names = [name for public in PUBLIC_TRACES for name in (public.name, *public.aliases)]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() for name in names)
    assert all(len(public.sha256) == 64 for public in PUBLIC_TRACES)


def test_the_demo_is_bundled() -> None:
    trace = resolve("demo")
    assert trace.name == "demo"
    assert len(trace) == 24
    assert trace.final_tokens().max() < 4096  # what the emulated device of a CPU run holds
    assert len(resolve("demo", limit=5)) == 5


@pytest.mark.parametrize("name", ["demo", "paper", "azure_conv"])
def test_a_folder_does_not_hide_a_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the folder of `study paper --out paper`, that is gone on with."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    assert len(resolve(name, limit=3)) == 3
    (tmp_path / "other").mkdir()
    with pytest.raises(TraceError, match="is a folder"):
        resolve("other")


@pytest.mark.parametrize("name", ["demo", "paper", "paper:requests=4", "azure_conv", "Azure_Conv"])
def test_a_file_does_not_replace_a_name(name: str, small: Trace, empty_place: Path) -> None:
    named = resolve(name, limit=3)
    write_canonical(small, empty_place / name)
    found = resolve(name, limit=3)
    prompts = small.prompt_tokens.tolist()
    assert found.prompt_tokens.tolist() == named.prompt_tokens.tolist() != prompts
    assert found.notices[-1] == f"{name} is the trace of that name, not the file: that is ./{name}"
    for path in (f"./{name}", str(empty_place / name)):
        assert resolve(path).prompt_tokens.tolist() == prompts
