"""The rules that keep the house tidy: who may import, print, and look at the clock.

cli, api > study > sim, backend > the run around the core > serving core > policy > values
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import house  # noqa: E402

LONGEST_FILE = 300
LONGEST_CHAIN = 22
MOST_FLAT = 16

# The layers, lowest first; a package stands for all its modules. Whoever is in none is a value.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("machine", "bound"),  # values and formulas, traces
    ("engine",),
    ("policy", "planner"),
    ("results", "scenario", "session"),
    ("sim", "backend"),
    ("calibrate",),
    ("study", "explain", "validate", "report"),
    ("cli", "api", "__main__"),
)
TOP = len(LAYERS) - 1


def modules() -> dict[str, Path]:
    """Every module, by the name it is imported by."""
    found = {}
    for folder in ("orbitflow", "sim", "backend", "traces", "calibrate"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not any(parent.is_symlink() for parent in path.parents if parent != ROOT):
                parts = path.relative_to(ROOT).with_suffix("").parts
                parts = parts if folder == "orbitflow" else ("orbitflow", *parts)
                found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = modules()


@cache
def tree_of(module: str) -> ast.Module:
    """A module, parsed."""
    return ast.parse(MODULES[module].read_text())


def layer(module: str) -> int:
    """The layer of a module of ours."""
    names = module.split(".")[1:2]
    return next((i for i, members in enumerate(LAYERS) if names and names[0] in members), 0)


@cache
def imports(module: str) -> tuple[tuple[str, bool], ...]:
    """What a module imports of ours, and whether only for types."""
    tree = tree_of(module)
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    found: list[tuple[str, bool]] = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            base = node.module or ""
            inner = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else base for name in inner]
        for name in set(names):
            if name.split(".")[0] == "orbitflow":
                found.append((name, id(node) in typing_only))
    return tuple(found)


def test_the_scan_sees_the_house() -> None:
    assert {"orbitflow.sim.run", "orbitflow.cli.sim", "orbitflow.engine.policy"} <= set(MODULES)
    for members in LAYERS:
        for name in members:
            assert f"orbitflow.{name}" in MODULES, f"the table of layers names {name}"


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downward(module: str) -> None:
    for name, types_only in imports(module):
        is_door = module == "orbitflow" and types_only  # what it offers, loaded when asked for
        assert is_door or layer(name) <= layer(module), f"{module} imports {name}"


def test_no_import_cycles() -> None:
    """Also not within a layer; what is imported for types only does not count."""
    below = {
        module: {name for name, types_only in imports(module) if not types_only} - {module}
        for module in MODULES
    }
    while True:
        leaves = {module for module, wanted in below.items() if not wanted & set(below)}
        if not leaves:
            break
        below = {module: wanted for module, wanted in below.items() if module not in leaves}
    assert not below, f"cycle among {sorted(below)}"


def test_no_chain_of_imports_is_long() -> None:
    chain = house.longest_chain(house.imports(house.read_house(ROOT, house.PRODUCT)))
    assert len(chain) > LONGEST_CHAIN // 2
    assert len(chain) <= LONGEST_CHAIN, " > ".join(chain)


def test_few_modules_lie_flat() -> None:
    assert len(list((ROOT / "orbitflow").glob("*.py"))) <= MOST_FLAT


@pytest.mark.parametrize("module", MODULES)
def test_houses_are_imported_by_their_full_name(module: str) -> None:
    tree = tree_of(module)
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert {n.split(".")[0] for n in names}.isdisjoint(
            {"sim", "backend", "traces", "calibrate"}
        )


FORBIDDEN_CALLS = (
    "print",
    "input",
    "time.",
    "datetime.now",
    "datetime.datetime.now",
    "datetime.today",
    "datetime.utcnow",
    "date.today",
    "random.",
    "sys.stdout",
    "sys.stderr",
    "uuid.",
)
NUMPY_RANDOM = ("Generator", "PCG64", "SeedSequence")


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


REAL_CLOCK = "orbitflow.backend.clock"  # the driver on real time takes it from here alone


@pytest.mark.parametrize("module", [m for m in MODULES if layer(m) < TOP and m != REAL_CLOCK])
def test_nothing_below_the_command_line_prints_or_reads_clocks_and_dice(module: str) -> None:
    tree = tree_of(module)
    for call in calls(tree):
        name = ast.unparse(call.func)
        for forbidden in FORBIDDEN_CALLS:
            found = name.startswith(forbidden) if "." in forbidden else name == forbidden
            assert not found, f"{module}:{call.lineno} calls {name}"
        for prefix in ("np.random.", "numpy.random."):
            if name.startswith(prefix):
                assert name.removeprefix(prefix) in NUMPY_RANDOM, f"{module}:{call.lineno} {name}"
                assert call.args, f"{module}:{call.lineno} {name} without a seed"
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
            assert not {"random", "time", "secrets"} & set(names), f"{module}:{node.lineno}"


@pytest.mark.parametrize("module", MODULES)
def test_files_are_short_and_say_what_they_are(module: str) -> None:
    text = MODULES[module].read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    assert ast.get_docstring(tree_of(module)), "no docstring"


def loaded_by(code: str) -> set[str]:
    """Modules that a fresh interpreter has loaded after the code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


SOLVERS = {"torch", "scipy", "pulp", "highspy", "transformers", "pandas"}


def test_the_core_knows_no_driver() -> None:
    loaded = loaded_by(
        "import orbitflow.engine.engine\n"
        "from orbitflow.policy.registry import builtin_names, make_policy\n"
        "for name in builtin_names():\n"
        "    make_policy(name)"
    )
    assert "orbitflow.planner.planner" in loaded
    assert loaded.isdisjoint({"simpy", "orbitflow.sim", "rich", "typer"} | SOLVERS)


def test_the_simulator_needs_no_torch_and_no_solver() -> None:
    assert loaded_by("import orbitflow.sim.run").isdisjoint({"rich", "typer"} | SOLVERS)


def test_the_driver_on_real_time_needs_neither_torch_nor_the_simulator() -> None:
    loaded = loaded_by("import orbitflow.backend.driver")
    assert loaded.isdisjoint({"simpy", "orbitflow.sim", "rich", "typer"} | SOLVERS)


@pytest.mark.parametrize("module", [m for m in MODULES if layer(m) < TOP])
def test_nothing_below_the_command_line_imports_its_tools(module: str) -> None:
    tree = tree_of(module)
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert {n.split(".")[0] for n in names}.isdisjoint({"rich", "typer", "click"})


def test_help_loads_only_what_it_shows() -> None:
    loaded = loaded_by("import orbitflow.cli")
    assert "orbitflow.cli" in loaded
    heavy = {"numpy", "simpy", "rich.progress", "orbitflow.scenario", "orbitflow.engine.engine"}
    assert loaded.isdisjoint(heavy | SOLVERS)


def test_help_itself_loads_no_more() -> None:
    code = (
        "import sys, contextlib, io, orbitflow.cli as cli\n"
        "sys.argv = ['orbitflow', '--help']\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    cli.main()"
    )
    assert loaded_by(code).isdisjoint({"numpy", "simpy", "rich.progress"} | SOLVERS)


def test_no_public_class_name_is_there_twice() -> None:
    """One name means one thing."""
    found: dict[str, list[str]] = {}
    for module in MODULES:
        for node in tree_of(module).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(module)
    assert {name: where for name, where in found.items() if len(where) > 1} == {}
