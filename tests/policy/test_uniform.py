"""The uniform policies against pages counted by hand.

Eight layers, pages of 16 tokens. A request whose context is c at the end of the window has
A = ceil(c / 16) pages in a layer, F = (c - 1) // 16 of them full; with h layers on the host a batch
of n needs (8 - h) ΣA + h n + ring ΣF. Choices keep 32 tokens of head-room: c + 31.
"""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference.standing import Server

from orbitflow.memory import KvLimits
from orbitflow.placement import RESIDENT, stride
from orbitflow.policy.registry import make_policy, policy_names
from orbitflow.policy.stride import Dynamic
from orbitflow.policy.uniform import UniformPolicy
from orbitflow.request import Request

# -- no-offload ------------------------------------------------------------------------------------


def test_no_offload_admits_whoever_fits_to_the_end() -> None:
    """33 + 16 - 1 = 48 tokens are 3 pages x 8 layers = 24: four fit into 100, the fifth waits."""
    server = Server("no-offload", 100)
    for _ in range(6):
        server.wait(33, 16)
    decision = server.apply()
    assert decision.admit == (0, 1, 2, 3)
    assert decision.window is None
    assert decision.placement.host_layers(0) == RESIDENT
    assert server.account.gpu_used == 96
    assert server.decide().admit == ()


def test_no_offload_lets_nobody_overtake() -> None:
    """After 24 of 40 pages, the second (24) does not fit; the third (8) would."""
    server = Server("no-offload", 40)
    server.wait(33, 16)
    server.wait(33, 16)
    server.wait(5, 3)
    assert server.decide().admit == (0,)


def test_no_offload_respects_the_batch() -> None:
    server = Server("no-offload", 1000, batch=2)
    for _ in range(3):
        server.wait(10)
    assert server.decide().admit == (0, 1)


def test_no_offload_alone_needs_its_final_length() -> None:
    """32 + 17 - 1 = 48 tokens: 3 pages a layer; one token more would be a fourth."""
    policy = Server("no-offload", 100).policy
    assert policy.pages_alone(Request(0, 0.0, 32, 17)) == (24, 0)
    assert policy.pages_alone(Request(0, 0.0, 32, 18)) == (32, 0)


# -- static-D and deepspeed ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("static-1", (1, 3, 5, 7)),
        ("static-2", (2, 5)),
        ("static-3", (3, 7)),
        ("static-4", (4,)),
        ("static-7", (7,)),
        ("deepspeed", (0, 1, 2, 3, 4, 5, 6, 7)),
    ],
)
def test_the_same_layers_whatever_the_load(name: str, host: tuple[int, ...]) -> None:
    for contexts in ([20], [20, 300, 40]):
        server = Server(name, 10_000)
        for context in contexts:
            server.run(context)
        placement = server.apply().placement
        assert {placement.host_layers(i) for i in range(len(contexts))} == {host}


def test_pages_alone_of_a_stride() -> None:
    """A final length of 65: A = 5, F = 4. static-1: 4 x 5 + 4 + 2 x 4; deepspeed: 8 + 4.

    On the host both store all of it: 8 x 5.
    """
    request = Request(0, 0.0, 60, 6)
    assert Server("static-1", 999).policy.pages_alone(request) == (32, 40)
    assert Server("deepspeed", 999).policy.pages_alone(request) == (12, 40)
    assert Server("static-2", 999).policy.pages_alone(request) == (6 * 5 + 2 + 8, 40)


def test_the_latest_is_parked_when_growth_no_longer_fits() -> None:
    """Two contexts of 65 under static-1: 4 x 10 + 4 x 2 + 2 x 8 = 64 pages, of which 63 exist.

    Alone with head-room, 96 tokens, A = 6, F = 5: 24 + 4 + 10 = 38. Each further page costs
    4 + 2 = 6, so 25 free pages last for 4 more: a window of 32 + 4 x 16.
    """
    server = Server("static-1", 63)
    server.run(65)
    server.run(65)
    decision = server.apply()
    assert decision.pause == (1,)
    assert decision.window == 96


def test_without_head_room_the_window_lasts_as_long_as_it_fits() -> None:
    """64 pages are enough for now. 15 more passes fill the fifth page, the 16th would not fit."""
    server = Server("static-1", 64)
    server.run(65)
    server.run(65)
    decision = server.apply()
    assert decision.pause == ()
    assert decision.window == 16


def test_as_many_as_needed_are_parked_the_latest_first() -> None:
    """Each of five needs 4 x 5 + 4 + 8 = 32: three fit into 100."""
    server = Server("static-1", 100)
    for _ in range(5):
        server.run(65)
    assert server.decide().pause == (4, 3)


def test_the_last_one_is_never_parked() -> None:
    server = Server("static-1", 32)
    server.run(65)
    server.run(65)
    assert server.decide().pause == (1,)


def test_the_parked_come_before_the_new() -> None:
    """The parked one needs more than is free, so the small newcomer waits behind it."""
    server = Server("static-1", 64)
    server.run(20)
    server.pause(200)
    small = server.wait(5, 3)
    assert (server.decide().resume, server.decide().admit) == ((), ())
    roomy = Server("static-1", 640)
    roomy.run(20)
    paused = roomy.pause(200)
    assert roomy.wait(5, 3) == small
    decision = roomy.apply()
    assert (decision.resume, decision.admit) == ((paused.id,), (small,))


def test_an_empty_machine_resumes_whatever_it_is() -> None:
    server = Server("static-1", 38)
    paused = server.pause(65)
    assert server.apply().resume == (paused.id,)


def test_host_memory_bounds_admission() -> None:
    """Each stores 20 + 10 - 1 = 29 tokens, 2 pages x 8 layers: 40 pages of host take two."""
    server = Server("static-1", 10_000, host_pages=40)
    for _ in range(3):
        server.wait(20)
    assert server.apply().admit == (0, 1)
    assert server.account.host_used == 32


def test_the_batch_bounds_admission() -> None:
    server = Server("static-1", 10_000, batch=2)
    for _ in range(3):
        server.wait(20)
    assert server.decide().admit == (0, 1)


# -- dynamic ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpu_pages", "distance"),
    [
        (160, None),
        (159, 9),
        (156, 9),
        (155, 7),
        (152, 7),
        (151, 5),
        (148, 5),
        (147, 4),
        (144, 4),
        (143, 3),
        (136, 3),
        (135, 2),
        (128, 2),
        (127, 1),
        (104, 1),
    ],
)
def test_dynamic_takes_the_widest_stride_that_fits(gpu_pages: int, distance: int | None) -> None:
    """32 layers, a context of 49, 80 with head-room: A = 5, F = 4; h on the host need

    (32 - h) 5 + h + 2 x 4 = 168 - 4 h pages, but 160 for h = 0: the ring is needed only where
    something streams, so h = 1 (164) and h = 2 (160) never help a single request.
    """
    server = Server("dynamic", gpu_pages, layers=32)
    server.run(49)
    host = server.apply().placement.host_layers(0)
    assert host == (RESIDENT if distance is None else stride(32, distance))


def test_dynamic_puts_at_most_every_second_layer_on_the_host() -> None:
    """103 pages: no choice has its head-room; without it, 49 to 64 tokens, A = 4, F = 3:

    16 x 4 + 16 + 6 = 86 with every second layer; the next page would make it 80 + 16 + 8 = 104.
    """
    server = Server("dynamic", 103, layers=32)
    server.run(49)
    decision = server.apply()
    assert decision.placement.host_layers(0) == stride(32, 1)
    assert decision.window == 16


@given(st.integers(1, 90))
def test_dynamic_never_offloads_more_than_half(layers: int) -> None:
    policy = Dynamic()
    policy.limits = KvLimits(layers, 16, 100)
    choices = policy.choices()
    assert choices[0] == RESIDENT
    assert all(2 * len(host) <= layers for host in choices)
    assert [len(host) for host in choices] == sorted(len(host) for host in choices)


def test_dynamic_comes_back_to_resident_when_there_is_room() -> None:
    """260 pages: two need 320 resident, 208 at best; one needs 160."""
    server = Server("dynamic", 260, layers=32)
    server.run(49)
    other = server.run(49)
    assert server.apply().placement.host_layers(0) != RESIDENT
    server.queues.retire(other, 0)
    assert server.apply().placement.host_layers(0) == RESIDENT


def test_resident_windows_grow_with_the_room() -> None:
    """160 pages for now and 64 more: two further pages for the one request, 32 + 2 x 16."""
    server = Server("dynamic", 160 + 64, layers=32)
    server.run(49)
    assert server.apply().window == 64


def test_dynamic_admits_as_soon_as_the_smallest_placement_fits() -> None:
    """Two of prompt 48, 80 with head-room: at best 16 x 10 + 16 x 2 + 2 x 8 = 208 pages."""
    for gpu_pages, admitted in ((207, (0,)), (208, (0, 1))):
        server = Server("dynamic", gpu_pages, layers=32)
        server.wait(48)
        server.wait(48)
        assert server.apply().admit == admitted


# -- all of them -----------------------------------------------------------------------------------


OFFLOADING = tuple(
    name
    for name in policy_names()
    if isinstance(make_policy(name), UniformPolicy) and not name.startswith("preempt")
)


@given(
    st.sampled_from([*OFFLOADING, "flexgen", "neo", "static-40"]),
    st.integers(1, 400),
    st.integers(1, 3),
    st.integers(1, 60),
)
@example("static-40", 64, 1, 4)
@example("deepspeed", 144, 1, 2)
@settings(derandomize=True, max_examples=300)
def test_whoever_is_not_refused_can_be_served_alone(
    name: str, prompt: int, output: int, capacity_pages: int
) -> None:
    """`pages_alone` promises it: from the first decision to the last pass, nothing overflows."""
    server = Server(name, 8 * capacity_pages)
    request = Request(0, 0.0, prompt, output)
    if server.policy.pages_alone(request)[0] > server.limits.gpu_pages:
        return
    server.wait(prompt, output)
    assert server.apply().admit == (0,)
    for generated in range(1, output):
        later = Server(name, 8 * capacity_pages)
        later.run(prompt + generated)
        decision = later.apply()
        assert decision.window is not None
        assert decision.window >= 1


@given(
    st.sampled_from([*OFFLOADING, "neo", "static-40"]),
    st.lists(st.integers(2, 300), max_size=6),
    st.lists(st.integers(2, 300), max_size=3),
    st.lists(st.integers(1, 300), max_size=4),
    st.integers(8, 100),
)
@settings(derandomize=True, max_examples=300)
def test_every_decision_fits_at_the_end_of_its_window(
    name: str, running: list[int], paused: list[int], waiting: list[int], capacity_pages: int
) -> None:
    """Whoever is there could be served alone, growth of a window included."""
    server = Server(name, 8 * capacity_pages)

    def alone(context: int) -> bool:
        need, _ = server.policy.pages_alone(Request(0, 0.0, context, 50))
        return need <= server.limits.gpu_pages

    for context in filter(alone, running):
        server.run(context)
    for context in filter(alone, paused):
        server.pause(context)
    for prompt in filter(alone, waiting):
        server.wait(prompt, 50)
    here = len(server.queues.active) + len(server.queues.paused) + len(server.queues.waiting)
    decision = server.apply()
    assert decision.window is not None
    assert decision.window >= 1
    assert bool(server.queues.active) == bool(here), "somebody always runs"


@pytest.mark.parametrize("name", OFFLOADING)
def test_offloading_policies_share_their_contract(name: str) -> None:
    plane = make_policy(name).data_plane
    assert plane.write_through
    assert bool(plane.ring_groups) == (not plane.host_read.attends)
