"""Windows without head-room: as long as what grows still fits, found in few steps."""

from __future__ import annotations

from typing import Any

import pytest
from reference.standing import Server

from orbitflow.policy.uniform import LONGEST_WINDOW, UniformPolicy


@pytest.mark.parametrize(
    ("page_tokens", "context", "window"),
    [
        (16, 17, 16),  # two pages end with 32 tokens; 17 + 16 is one more
        (16, 32, 1),
        (1000, 1, 2000),
        (4096, 5000, 3193),  # 8,192 - 5,000 + 1
        (1_000_000, 400, LONGEST_WINDOW),
    ],
)
def test_a_window_lasts_until_two_pages_are_full(
    monkeypatch: pytest.MonkeyPatch, page_tokens: int, context: int, window: int
) -> None:
    """One request in 8 layers of 16 GPU pages: two pages of each layer are all there is, and with
    two pages of head-room it would need three.
    """
    asked = 0
    needs: Any = UniformPolicy._needs

    def counted(*arguments: object) -> object:
        nonlocal asked
        asked += 1
        return needs(*arguments)

    monkeypatch.setattr(UniformPolicy, "_needs", counted)
    server = Server("preempt-swap", 16, page_tokens=page_tokens)
    server.run(context)
    assert server.decide().window == window
    assert asked < 40
