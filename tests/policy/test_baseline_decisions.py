"""What the baselines of other systems decide, against pages counted by hand."""

from __future__ import annotations

import pytest
from reference.harness import serve
from reference.standing import Server
from strategies import small_machine

from orbitflow.placement import RESIDENT, stride
from orbitflow.policy.select_n import MeanLength
from orbitflow.request import Request

ALL = stride(8, 0)

# -- flexgen ---------------------------------------------------------------------------------------


def test_flexgen_keeps_the_first_rows_on_the_gpu() -> None:
    """Four rows of 33 + 15 = 48 tokens at the block's end: A = 3, F = 2.

    k resident rows take 24 k, the others 8 tails and 2 x 2 staged pages each: 2 and 2 need 72.
    """
    for gpu_pages, rows in ((71, 1), (72, 2), (83, 2), (84, 3), (95, 3), (96, 4)):
        server = Server("flexgen", gpu_pages)
        for _ in range(4):
            server.wait(33, 16)
        decision = server.apply()
        assert decision.admit == (0, 1, 2, 3)
        placed = [decision.placement.host_layers(i) for i in range(4)]
        assert placed == [RESIDENT] * rows + [ALL] * (4 - rows)
        assert decision.window == 15
        assert server.account.gpu_used <= gpu_pages


def test_flexgen_reserves_the_longest_output_behind_every_prompt() -> None:
    """The second row's 200 tokens: 5 + 199 are 13 pages a layer, and so are the first row's."""
    server = Server("flexgen", 8 * 26)
    server.wait(5, 2)
    server.wait(5, 200)
    assert server.apply().placement.host_layers(1) == RESIDENT
    assert server.account.gpu_used == 8 * 26


def test_nobody_joins_a_block() -> None:
    requests = [Request(0, 0.0, 9, 20), Request(1, 0.01, 9, 5), Request(2, 0.02, 9, 30)]
    run = serve("flexgen", small_machine(2000), requests)
    admitted = [events.admitted for _, _, events in run.steps if events.admitted]
    assert admitted == [(0,), (1, 2)]
    assert run.finished[1].admitted_s == run.times[0][-1]


# -- flexgen-plus, select-n-artifact ---------------------------------------------------------------


def test_the_mean_counts_everybody_once() -> None:
    server = Server("flexgen-plus", 10_000)
    mean = MeanLength()
    assert mean.tokens == 0
    first, second = server.run(33, 69), server.run(21, 41)  # 100 and 60 tokens at their ends
    mean.meet([first])
    mean.meet([first, second])
    mean.meet([second])
    assert mean.tokens == 80


@pytest.mark.parametrize(
    ("gpu_pages", "host"),
    [(120, RESIDENT), (119, (7,)), (105, (7,)), (104, (3, 7)), (89, (1, 3, 5, 7))],
)
def test_flexgen_plus_counts_blocks_of_the_mean_length(
    gpu_pages: int, host: tuple[int, ...]
) -> None:
    """A context of 33 that ends at 220 is 14 + 1 = 15 blocks a layer: 120 pages hold 8 layers.

    119 hold 7, 104 hold 6: 1 and 2 are off, distances 7 and 3. 89 hold 5: 8 // 3 - 1 = 1.
    """
    server = Server("flexgen-plus", gpu_pages)
    server.run(33, 188)
    assert server.apply().placement.host_layers(0) == host


# -- neo -------------------------------------------------------------------------------------------


def test_neo_moves_the_latest_to_the_host_when_growth_does_not_fit() -> None:
    """Two of 5 pages in 8 layers are 80; with 79, the second keeps 8 tails beside the first's."""
    server = Server("neo", 79)
    server.run(65)
    server.run(65)
    decision = server.apply()
    assert decision.placement.exceptions == {1: ALL}
    assert decision.pause == ()
    assert server.account.gpu_used >= 48


def test_neo_moves_back_only_into_95_percent() -> None:
    for gpu_pages, back in ((85, True), (84, False)):  # 80 pages are 95 % of 84.2
        server = Server("neo", gpu_pages)
        server.run(65)
        paused = server.pause(65)
        decision = server.apply()
        assert decision.resume == (paused.id,)
        assert (paused.id in decision.placement.exceptions) != back


def test_nobody_overtakes_neos_host_list() -> None:
    """200 tokens with head-room, 231, do not fit beside 5 pages; the small one goes behind."""
    server = Server("neo", 100)
    server.run(65)
    large, small = server.wait(200), server.wait(5)
    decision = server.apply()
    assert decision.admit == (large, small)
    assert set(decision.placement.exceptions) == {large, small}


def test_neo_parks_whom_the_cpu_has_no_time_for() -> None:
    """The GPU works 20 ms; the CPU attends at 2 GB/s to 8 layers of 1 KiB pages: 4.1 us a page.

    5,000 pages a layer take 20.5 ms: the first of two waits, and so does the one behind it.
    """
    server = Server("neo", 200)
    server.run(65)
    long, short = server.pause(80_001), server.pause(300)
    decision = server.apply()
    assert decision.resume == ()
    assert {s.id for s in server.queues.paused.values()} == {long.id, short.id}
