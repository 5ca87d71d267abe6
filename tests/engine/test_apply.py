"""What decisions reserve, in pages counted by hand: 4 layers, pages of 16 tokens."""

from __future__ import annotations

import numpy as np
import pytest

from orbitflow.engine.apply import Reservation
from orbitflow.engine.policy import DataPlane
from orbitflow.machine.pipeline import Overlap
from orbitflow.memory import KvAccount, KvLimits
from orbitflow.placement import HostLayers
from orbitflow.request import Request, RequestState


def make(*, write_through: bool = True, ring: int = 2) -> tuple[Reservation, KvAccount]:
    account = KvAccount(KvLimits(4, 16, 1000, 1000))
    plane = DataPlane(Overlap.RING, write_through=write_through, ring_groups=ring)
    return Reservation(account, plane), account


def state(number: int, prompt: int, output: int, target: HostLayers = ()) -> RequestState:
    return RequestState(Request(number, 0.0, prompt, output), 0.0, 0.1, target, target)


def test_to_the_end_holds_the_final_length() -> None:
    """40 + 10 - 1 = 49 tokens: 4 pages in each of 4 layers; nothing on the host."""
    reservation, account = make(write_through=False)
    reservation.admit(state(0, 40, 10), to_the_end=True)
    assert (account.gpu_used, account.host_used) == (16, 0)
    reservation.end(state(0, 40, 10), is_last=True)
    assert account.is_empty


def test_written_through_requests_reserve_the_host_to_their_end() -> None:
    reservation, account = make()
    reservation.admit(state(0, 40, 10), to_the_end=False)
    assert (account.gpu_used, account.host_used) == (0, 16)


@pytest.mark.parametrize(("window", "gpu"), [(1, 12), (16, 12), (17, 16)])
def test_a_window_of_residents_pays_for_its_growth(window: int, gpu: int) -> None:
    """33 tokens are 3 pages; 15 more fit into the third, the 16th starts the fourth."""
    reservation, account = make()
    reservation.for_window(window, np.array([33]), [state(0, 32, 99)], ())
    assert (account.gpu_used, account.ring_pages) == (gpu, 0)


def test_a_uniform_window_with_two_layers_on_the_host() -> None:
    """33 and 16 tokens now, 48 and 31 at the end: 3 + 2 pages, 2 + 1 full ones.

    2 layers x 5 pages, 2 x 2 tails, a ring of 2 groups of 3 pages: 10 + 4 + 6.
    """
    reservation, account = make()
    members = [state(0, 32, 99, (1, 3)), state(1, 15, 99, (1, 3))]
    reservation.for_window(16, np.array([33, 16]), members, (1, 3))
    assert (account.window_pages, account.ring_pages, account.gpu_used) == (14, 6, 20)


def test_the_ring_fits_the_largest_layer() -> None:
    """Request 0 (2 full pages) streams layers 1 and 3, request 1 (1 full page) layers 2 and 3.

    Layer 3 has both: 3 pages, a ring of 6. Each request: 2 layers whole and 2 tails: 6 + 2, 4 + 2.
    """
    reservation, account = make()
    members = [state(0, 32, 99, (1, 3)), state(1, 15, 99, (2, 3))]
    reservation.for_window(16, np.array([33, 16]), members, None)
    assert (account.window_pages, account.ring_pages) == (14, 6)


def test_phase_shifted_requests_need_a_smaller_ring() -> None:
    reservation, account = make()
    members = [state(0, 32, 99, (1,)), state(1, 32, 99, (2,))]
    reservation.for_window(1, np.array([33, 33]), members, None)
    assert account.ring_pages == 4


def test_nobody_active_reserves_nothing() -> None:
    reservation, account = make()
    reservation.for_window(10, np.empty(0, dtype=np.int64), [], ())
    assert account.gpu_used == 0


def test_parked_requests_keep_the_host_and_pay_for_what_is_loaded_ahead() -> None:
    """All on the host: nothing on the GPU. Two layers loaded ahead: their full
    pages, 2 x 2; the tails stay on the host."""
    reservation, account = make()
    one = state(0, 32, 10, (0, 1, 2, 3))
    reservation.admit(one, to_the_end=False)
    reservation.pause(one, 0)
    assert (account.gpu_used, account.host_used) == (0, 12)
    one.target = (0, 1)
    reservation.pause(one, 0)
    assert (account.gpu_used, account.host_used) == (4, 12)
    reservation.resume(one)
    assert (account.gpu_used, account.host_used) == (0, 12)


def test_the_window_ends_with_the_last_request() -> None:
    reservation, account = make()
    for number in (0, 1):
        reservation.admit(state(number, 32, 10), to_the_end=False)
    reservation.for_window(1, np.array([33, 33]), [], ())
    reservation.end(state(0, 32, 10), is_last=False)
    assert account.window_pages == 24
    reservation.end(state(1, 32, 10), is_last=True)
    assert account.is_empty
