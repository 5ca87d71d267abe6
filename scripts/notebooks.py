"""Run the notebooks of docs/notebooks and write their outputs into them; with --check only say
which are stale.

The code cells of a notebook run in one namespace, in an empty folder. Kept are what a cell prints
and the value of its last expression. A notebook prints nothing that differs between two runs.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"


def executed(document: dict[str, Any]) -> dict[str, Any]:
    """The notebook with the outputs that its cells have now. Raise what a cell raises."""
    scope: dict[str, Any] = {"__name__": "notebook"}
    cells, number = [], 0
    with empty_folder():
        for cell in document["cells"]:
            if cell["cell_type"] == "code":
                number += 1
                outputs = _outputs("".join(cell["source"]), scope, number)
                cell = {**cell, "execution_count": number, "outputs": outputs}
            cells.append(cell)
    return {**document, "cells": cells}


def text_of(document: dict[str, Any]) -> str:
    """A notebook as it is written."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


@contextlib.contextmanager
def empty_folder() -> Iterator[None]:
    """Stand in a new folder meanwhile."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def _outputs(source: str, scope: dict[str, Any], number: int) -> list[dict[str, Any]]:
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"cell {number}", "exec"), scope)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), scope)
    found: list[dict[str, Any]] = []
    if text := printed.getvalue():
        found.append({"name": "stdout", "output_type": "stream", "text": _lines(text)})
    if value is not None:
        data = {"text/plain": _lines(repr(value))}
        if (shown := getattr(value, "_repr_html_", None)) is not None:
            data["text/html"] = _lines(shown())
        result = {"data": data, "execution_count": number, "metadata": {}}
        found.append({**result, "output_type": "execute_result"})
    return found


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def main() -> None:
    """Write the outputs, or exit 1 if some are stale."""
    is_stale = False
    for path in sorted(FOLDER.glob("*.ipynb")):
        stored = path.read_text(encoding="utf-8")
        now = text_of(executed(json.loads(stored)))
        if now != stored:
            is_stale = True
            print(f"{path} is stale" if "--check" in sys.argv else f"wrote {path}")
            if "--check" not in sys.argv:
                path.write_text(now, encoding="utf-8")
    raise SystemExit(is_stale and "--check" in sys.argv)


if __name__ == "__main__":
    main()
