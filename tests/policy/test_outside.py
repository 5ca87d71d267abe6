"""Policies from outside: files, modules and entry points, and the line that each mistake gets."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reference.commands import Invoke, invoker

from orbitflow.config import RunConfig
from orbitflow.errors import PolicyNameError
from orbitflow.policy.outside import absolute, load_class
from orbitflow.policy.registry import (
    builtin_names,
    choose,
    digests,
    expand,
    label_of,
    make_policy,
    policy_names,
)
from orbitflow.results.run_files import read_config_file
from orbitflow.scenario import build_scenario

SOURCE = """\
from orbitflow.policy.no_offload import NoOffload

class Mine(NoOffload):
    name = "mine"
"""
LACKING = """\
from orbitflow.engine.policy import *
class Mine(Policy):
    name = "mine"
{}    def decide(self, view): ...
    def pages_alone(self, request): ...
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(SOURCE)
    return tmp_path


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Invoke:
    return invoker(monkeypatch, capfd)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Make a distribution with one entry point, and the module that it names."""

    def install(line: str, source: str = SOURCE) -> None:
        site = tmp_path / "site"
        info = site / "of_plugin-1.0.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: of-plugin\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[orbitflow.policies]\n{line}\n")
        (site / "of_plugin.py").write_text(source)
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.delitem(sys.modules, "of_plugin", raising=False)

    return install


# Files


def test_a_class_of_a_file(here: Path) -> None:
    policy = make_policy("mine.py:Mine")
    assert (policy.name, policy.admission) == ("mine", "full length fits")
    assert make_policy("mine.py:Mine") is not policy
    assert type(make_policy(f"{here}/mine.py:Mine")) is type(policy)
    assert label_of("mine.py:Mine") == "mine"


def test_references_hold_in_any_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (there,) = expand(["mine.py:Mine"])
    assert there == absolute("./mine.py:Mine") == f"{here}/mine.py:Mine"
    monkeypatch.chdir("/")
    assert make_policy(there).name == "mine"
    assert absolute(there) == there
    for name in ("orbit", "package.module:Mine", "all", "static-3"):
        assert absolute(name) == name
    monkeypatch.setenv("HOME", str(here))
    assert absolute("~/mine.py:Mine") == there


def test_an_edited_file_is_read_again(here: Path) -> None:
    assert make_policy("mine.py:Mine").name == "mine"
    (here / "mine.py").write_text(SOURCE.replace('"mine"', '"other"'))
    assert make_policy("mine.py:Mine").name == "other"


def test_a_file_may_import_its_neighbours(here: Path) -> None:
    (here / "of_neighbour.py").write_text("NAME = 'named-next-door'\n")
    (here / "mine.py").write_text(
        "from of_neighbour import NAME\n" + SOURCE.replace('"mine"', "NAME")
    )
    path = list(sys.path)
    assert make_policy("mine.py:Mine").name == "named-next-door"
    assert sys.path == path


def test_a_class_without_a_name_has_its_own(here: Path) -> None:
    rest = "lengths, data_plane, admission = Lengths.CAP, DataPlane(None, False, 0), 'never'"
    text = LACKING.format(f"    {rest}\n").replace('    name = "mine"\n', "")
    (here / "mine.py").write_text(text)
    assert make_policy("mine.py:Mine").name == "Mine"


@pytest.mark.parametrize(
    ("source", "reference", "said"),
    [
        (SOURCE, "nowhere.py:Mine", "{here}/nowhere.py: No such file or directory"),
        (SOURCE, "mine.py:Mien", "mine.py has no class 'Mien': did you mean Mine?"),
        (SOURCE, "mine.py:", "mine.py has no class ''"),
        ("X = 1\n", "mine.py:Mine", "has no class 'Mine': it defines no policy"),
        ("Mine = 1\n", "mine.py:Mine", "Mine is no subclass of orbitflow.Policy"),
        ("class Mine: pass\n", "mine.py:Mine", "Mine is no subclass of orbitflow.Policy"),
        (
            "\nx = 1 / 0\n",
            "mine.py:Mine",
            "imported: {here}/mine.py:2: ZeroDivisionError: division by zero",
        ),
        (
            "\ndef f(:\n",
            "mine.py:Mine",
            "cannot be imported: {here}/mine.py:2: SyntaxError: invalid syntax",
        ),
        ("import nothing_of_that_name\n", "mine.py:Mine", "{here}/mine.py:1: ModuleNotFoundError"),
        ("import json\n\njson.loads('{')\n", "mine.py:Mine", "{here}/mine.py:3: JSONDecodeError"),
        ("raise SystemExit(3)\n", "mine.py:Mine", "{here}/mine.py:1: SystemExit: 3"),
        (
            SOURCE + "    def __init__(self, x): pass\n",
            "mine.py:Mine",
            "cannot be made without arguments (TypeError: Mine.__init__() missing 1 required",
        ),
        (
            SOURCE + "    def __init__(self):\n        1 / 0\n",
            "mine.py:Mine",
            "({here}/mine.py:6: ZeroDivisionError: division by zero)",
        ),
        (
            SOURCE.replace('"mine"', '"orbit"'),
            "mine.py:Mine",
            "calls itself 'orbit', as a built-in does",
        ),
        (
            SOURCE.replace('"mine"', '"static-11"'),
            "mine.py:Mine",
            "calls itself 'static-11', as a built-in",
        ),
        (
            SOURCE.replace('"mine"', '"../../etc"'),
            "mine.py:Mine",
            "calls itself '../../etc': write a name of at most",
        ),
        (SOURCE.replace('"mine"', '"."'), "mine.py:Mine", "calls itself '.': write a name"),
        (SOURCE.replace('"mine"', "7"), "mine.py:Mine", "declare 'name', a text"),
        (LACKING.format(""), "mine.py:Mine", "declare 'lengths', an orbitflow.Lengths"),
        (
            LACKING.format("    lengths = Lengths.CAP\n"),
            "mine.py:Mine",
            "declare 'data_plane', an orbitflow.DataPlane",
        ),
        (SOURCE, "mine.py", "no policy is called 'mine.py': of a file, write mine.py:Class"),
    ],
)
def test_mistakes_get_one_line(here: Path, source: str, reference: str, said: str) -> None:
    (here / "mine.py").write_text(source)
    with pytest.raises(PolicyNameError) as refusal:
        expand([reference])
    assert said.format(here=here) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_failed_is_tried_again(here: Path) -> None:
    (here / "mine.py").write_text("1 / 0\n")
    for _ in range(2):
        with pytest.raises(PolicyNameError, match="ZeroDivisionError"):
            load_class("mine.py:Mine")
    (here / "mine.py").write_text(SOURCE)
    assert load_class("mine.py:Mine").name == "mine"


def test_an_entry_point_that_cannot_be_read(installed: Callable[[str, str], None]) -> None:
    installed("no equals sign", SOURCE)
    with pytest.raises(PolicyNameError, match=r"entry points of .* cannot be read \(TypeError: "):
        expand(["mine"])
    assert expand(["mine.py:Mine", "orbit"])[1:] == ["orbit"]


# Modules


def test_a_class_of_a_module() -> None:
    assert load_class("orbitflow.policy.no_offload:NoOffload").__name__ == "NoOffload"
    with pytest.raises(PolicyNameError, match="calls itself 'no-offload', as a built-in does"):
        make_policy("orbitflow.policy.no_offload:NoOffload")


@pytest.mark.parametrize(
    ("source", "reference", "said"),
    [
        (SOURCE, "of_nothing:Mine", "no module is called 'of_nothing': install it, add its folder"),
        (SOURCE, "of_made.below:Mine", "no module is called 'of_made.below'"),
        (SOURCE, "of_made:Mien", "of_made has no class 'Mien': did you mean Mine?"),
        (
            "import of_nothing\n",
            "of_made:Mine",
            "of_made.py:1: ModuleNotFoundError: No module named 'of_nothing'",
        ),
        ("x = 1\n1 / 0\n", "of_made:Mine", "of_made.py:2: ZeroDivisionError"),
        (SOURCE, ":Mine", "write path/to/file.py:Class or package.module:Class"),
        (SOURCE, "two words:Mine", "write path/to/file.py:Class or package.module:Class"),
    ],
)
def test_mistakes_of_modules(
    here: Path, monkeypatch: pytest.MonkeyPatch, source: str, reference: str, said: str
) -> None:
    (here / "of_made.py").write_text(source)
    monkeypatch.syspath_prepend(str(here))
    monkeypatch.delitem(sys.modules, "of_made", raising=False)
    with pytest.raises(PolicyNameError) as refusal:
        make_policy(reference)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


# Entry points


def test_an_entry_point_is_a_name(installed: Any) -> None:
    installed("mine = of_plugin:Mine")
    assert policy_names() == [*builtin_names(), "mine"]
    assert make_policy("mine").name == "mine"
    assert expand(["mine", "dynamic"]) == ["mine", "dynamic"]
    assert "mine" not in expand(["all"])
    with pytest.raises(PolicyNameError, match="did you mean mine"):
        make_policy("mien")


def test_nothing_is_imported_until_it_is_asked_for(installed: Any) -> None:
    installed("mine = of_plugin:Mine", "1 / 0\n")
    assert "mine" in policy_names()
    assert make_policy("dynamic").name == "dynamic"
    with pytest.raises(PolicyNameError, match=r"of_plugin\.py:1: ZeroDivisionError"):
        make_policy("mine")


def test_entry_points_take_no_name_of_a_built_in(installed: Any) -> None:
    installed("orbit = of_plugin:Mine")
    assert type(make_policy("orbit")).__name__ == "Orbit"
    with pytest.raises(PolicyNameError, match=r"'orbit' \(of_plugin:Mine\) has the name of a buil"):
        policy_names()
    installed("yours = of_plugin:Mine")
    with pytest.raises(PolicyNameError, match="calls itself 'mine': the entry point and the class"):
        make_policy("yours")


# In runs and studies


def test_two_of_one_name_are_refused(here: Path) -> None:
    (here / "again.py").write_text(SOURCE)
    with pytest.raises(PolicyNameError, match=r"mine\.py:Mine and .*again\.py:Mine both call"):
        choose(["mine.py:Mine", "again.py:Mine"], {})
    assert [c.label for c in choose(["mine.py:Mine", "./mine.py:Mine"], {})] == ["mine"]


def test_digests_follow_the_source(here: Path, installed: Any) -> None:
    installed("mine = of_plugin:Mine")
    names = ["dynamic", "static-7", "mine.py:Mine", "mine"]
    before = digests(names)
    assert list(before) == ["mine.py:Mine", "mine"]
    assert digests(names) == before
    (here / "mine.py").write_text(SOURCE + "# edited\n")
    assert digests(names)["mine.py:Mine"] != before["mine.py:Mine"]


@pytest.mark.slow
def test_a_run_says_where_its_policy_is(here: Path, invoke: Invoke) -> None:
    done = invoke(
        *("sim", "--trace", "demo", "--policy", "mine.py:Mine", "--policy", "no-offload"),
        *("--num-requests", "5", "--out", "run", "--json"),
    )
    assert done.code == 0, done.err
    policies = json.loads(done.out)["policies"]
    assert list(policies) == ["mine", "no-offload"]
    assert policies["mine"] == policies["no-offload"]
    assert (here / "run/mine/steps.npz").exists()
    recorded = read_config_file(here / "run/config.toml")
    wanted = (f"{here}/mine.py:Mine", "no-offload")
    assert recorded.config.policies == recorded.policies == wanted
    os.chdir("/")
    assert build_scenario(recorded.config).policies == ("mine", "no-offload")


@pytest.mark.slow
def test_workers_import_it_again(here: Path, invoke: Invoke) -> None:
    done = invoke(
        *("study", "run", "--trace", "demo", "--grid", "policy=mine.py:Mine,no-offload"),
        *("--num-requests", "5", "--workers", "1", "--out", "study", "-q"),
    )
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in (here / "study/cells.jsonl").read_text().splitlines()]
    assert [row["cell"]["policy"] for row in rows] == [f"{here}/mine.py:Mine", "no-offload"]
    assert rows[0]["figures"] == rows[1]["figures"]
    study = json.loads((here / "study/study.json").read_text())
    assert f"policy {here}/mine.py:Mine" in study["inputs"]


def test_refusals_of_the_command_exit_2(invoke: Invoke) -> None:
    done = invoke("sim", "--trace", "demo", "--policy", "nowhere.py:Mine")
    assert done.code == 2
    assert done.err.startswith("orbitflow: policy ")
    assert len(done.err.splitlines()) == 1


def test_built_in_names_need_no_look_at_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("looked at entry points")

    monkeypatch.setattr("orbitflow.policy.registry.entry_points", refuse)
    scenario = build_scenario(RunConfig(trace="demo", policies=("all",)))
    assert list(scenario.policies) == builtin_names()
    assert digests(builtin_names()) == {}
