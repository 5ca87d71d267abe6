"""Measure how the code is built: sizes, docstrings, imports, names.

    python scripts/house.py [ROOT] [FOLDER ...]

ROOT is a checkout, this one by default. FOLDERs are its product folders (`orbitflow sim backend
traces calibrate benchmarks scripts` here); links are not followed. The import chain counts an
import of `orbitflow.sim.x` as an import of `sim/x.py`, and imports inside functions; imports for
types only do not count.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
MAPPED = ("sim", "backend", "traces", "calibrate")  # imported as orbitflow.NAME
PRODUCT = ("orbitflow", *MAPPED)


class House(NamedTuple):
    """Files of a checkout, parsed, by the name that each is imported by."""

    files: dict[str, Path]
    trees: dict[str, ast.Module]


def read_house(root: Path, folders: Sequence[str]) -> House:
    """Parse every Python file of some folders; tests and links are left out."""
    files = {}
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            inner = path.relative_to(root)
            if (
                any((root / parent).is_symlink() for parent in inner.parents)
                or "tests" in inner.parts
            ):
                continue
            parts = inner.with_suffix("").parts
            parts = ("orbitflow", *parts) if parts[0] in MAPPED else parts
            files[".".join(parts).removesuffix(".__init__")] = path
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in files.items()}
    return House(files, trees)


def lines_of(house: House) -> list[int]:
    """Lines of each file."""
    return [len(p.read_text(encoding="utf-8").splitlines()) for p in house.files.values()]


def functions(house: House) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method."""
    for tree in house.trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


def share_documented(house: House) -> float:
    """Share of public functions, classes and methods that have a docstring."""
    have = [ast.get_docstring(node) is not None for node in _public(house)]
    return sum(have) / len(have) if have else 1.0


def _public(house: House) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for tree in house.trees.values():
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            if node.name.startswith("_"):
                continue
            yield node
            for inner in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield inner


def repeated_class_names(house: House) -> dict[str, int]:
    """Public class names that are defined more than once."""
    names = Counter(
        node.name
        for tree in house.trees.values()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    return {name: count for name, count in sorted(names.items()) if count > 1}


def imports(house: House) -> dict[str, set[str]]:
    """What each module imports of the house."""
    return {name: set(_imported(tree, house)) - {name} for name, tree in house.trees.items()}


def _imported(node: ast.AST, house: House) -> Iterator[str]:
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in house.files)
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            target = inner if inner in house.files else node.module
            if target in house.files:
                yield target
    for inner_node in ast.iter_child_nodes(node):
        yield from _imported(inner_node, house)


def longest_chain(graph: dict[str, set[str]]) -> list[str]:
    """The longest chain of imports; they make no circle."""

    @cache
    def below(name: str) -> tuple[str, ...]:
        return (name, *_longest([below(other) for other in sorted(graph.get(name, ()))]))

    return list(_longest([below(name) for name in sorted(graph)]))


def _longest(chains: list[tuple[str, ...]]) -> tuple[str, ...]:
    longest: tuple[str, ...] = ()
    for chain in chains:
        longest = chain if len(chain) > len(longest) else longest
    return longest


def import_statements(house: House) -> float:
    """Import statements of a file, on the mean."""
    counts = [
        sum(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(tree))
        for tree in house.trees.values()
    ]
    return statistics.fmean(counts) if counts else 0.0


def _percentile(values: list[int], share: float) -> int:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    """Print one line for each figure."""
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    folders = sys.argv[2:] or [*PRODUCT, "benchmarks", "scripts"]
    house = read_house(root, folders)
    if not house.files:
        raise SystemExit(f"{root}: no Python files in {', '.join(folders)}; name its folders")
    lines = lines_of(house)
    sizes = [(node.end_lineno or node.lineno) - node.lineno + 1 for node in functions(house)]
    folder = Counter(path.parent for path in house.files.values())
    importers = Counter(name for wanted in imports(house).values() for name in wanted)
    chain = longest_chain(imports(house))
    figures = {
        "files / lines": f"{len(lines)} / {sum(lines):,}",
        "median / longest file": f"{statistics.median(lines):.0f} / {max(lines)}",
        "median / p90 function": f"{statistics.median(sizes):.1f} / {_percentile(sizes, 0.9)}",
        "files per folder, median / most": (
            f"{statistics.median(folder.values()):.0f} / {max(folder.values())}"
        ),
        "public docstrings": f"{100 * share_documented(house):.0f} %",
        "import statements per file": f"{import_statements(house):.1f}",
        "longest import chain": f"{len(chain)}",
        "modules with one importer": str(sum(count == 1 for count in importers.values())),
        "public class names defined twice": str(len(repeated_class_names(house))),
    }
    for name, figure in figures.items():
        print(f"{name:34} {figure}")
    print("chain:", " > ".join(chain))
    print("twice:", ", ".join(f"{n} x{c}" for n, c in repeated_class_names(house).items()))


if __name__ == "__main__":
    main()
