"""Which part of host KV the CPU works on and how much of it the GPU is spared."""

from __future__ import annotations

import pytest

from orbitflow.machine.pipeline import ATTEND, STREAM, HostRead
from orbitflow.policy.stride import SELECT

HOST = (0, 1, 2, 5)


@pytest.mark.parametrize(
    ("read", "layers", "spared"), [(STREAM, (), 0.0), (ATTEND, HOST, 1.0), (SELECT, (2, 5), 0.7)]
)
def test_what_the_cpu_works_on(read: HostRead, layers: tuple[int, ...], spared: float) -> None:
    assert read.worked_on(HOST) == layers
    assert read.spared_share == pytest.approx(spared)
    assert read.needs_host == bool(layers)


def test_only_a_share_is_a_selection() -> None:
    assert SELECT.selects
    assert not ATTEND.selects
    assert not STREAM.selects
    assert not HostRead(fetched_share=0.9, kept_share=0.5).spared_share
