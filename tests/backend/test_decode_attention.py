"""The batch's attention: tables are sent only where pages changed, and served requests get the
same logits from the Triton kernel, interpreted, as from the loop, while policies move their KV.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from orbitflow.backend.attention.decode import (
    WIDTH_PAGES,
    LoopAttention,
    PagedAttention,
    PageTables,
    attention_for,
)
from orbitflow.backend.attention.reference import Scratch  # noqa: E402
from reference import served  # noqa: E402

TESTS = Path(__file__).resolve().parents[1]
REQUESTS = served.workload((3, 3), (14, 4), (9, 2))
POLICIES = ("static-1", "select-n")  # both stream, the second demotes as well


def test_a_table_is_sent_again_only_if_its_pages_changed() -> None:
    tables = PageTables(torch.device("cpu"))
    first = tables.of(0, [(4, 5, 9), (7,)])
    assert first.shape == (2, WIDTH_PAGES)
    assert first[:, :3].tolist() == [[4, 5, 9], [7, 0, 0]]
    assert tables.of(0, [(4, 5, 9), (7,)]) is first
    tables.of(1, [(1,)])
    assert tables.of(0, [(4, 5, 9), (7,)]) is first
    grown = tables.of(0, [(4, 5, 9), (7, 3)])
    assert grown[1, :2].tolist() == [7, 3]
    assert first[1, :2].tolist() == [7, 0], "what a kernel may still read is not overwritten"
    assert tables.of(0, [tuple(range(WIDTH_PAGES + 1))]).shape == (1, 2 * WIDTH_PAGES)


def test_the_cpu_takes_the_loop() -> None:
    machine = served.server("no-offload", served.PLENTY)
    storage = machine.plane.device.storage
    chosen = attention_for(machine.store, storage, lambda *_: [], Scratch(), attends=False)
    assert isinstance(chosen, LoopAttention)
    machine.executor.close()


@pytest.mark.slow
def test_paged_attention_serves_alike_in_the_interpreter(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="the kernel needs triton")
    done = subprocess.run(
        [sys.executable, __file__],
        env={
            **os.environ, "TRITON_INTERPRET": "1", "TRITON_CACHE_DIR": str(tmp_path),
            "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
        },
        cwd=TESTS, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def main() -> None:
    """Serve with the loop and with the kernel; the parent process reads only how it ends."""
    wanted = served.alone(REQUESTS)
    for policy in POLICIES:
        machine = served.server(policy, 40, requests=REQUESTS)
        machine.executor.attention = PagedAttention(machine.store, machine.plane.device.storage)
        got = served.Served(machine, REQUESTS).logits
        assert machine.store.traffic.streamed, f"{policy} streamed nothing"
        assert got.keys() == wanted.keys()
        for request_id, rows in wanted.items():
            logits, same = torch.stack(got[request_id]), torch.stack(rows)
            torch.testing.assert_close(logits, same, atol=1e-4, rtol=0)


if __name__ == "__main__":
    main()
