"""The door: what a prompt may cost those who are being read to, and who is too slow even alone."""

from __future__ import annotations

import pytest
from reference.harness import serve
from strategies import Machine, small_machine

from orbitflow.config import Tuning
from orbitflow.policy.orbit.admission import recovery_among
from orbitflow.policy.orbit.options import DEFAULT
from orbitflow.policy.orbit.policy import Orbit
from orbitflow.request import Request

TAU_S = 0.5
READERS = 4
COMES_S = 0.12  # when all of them have their first token, and hardly any balance
MACHINE = small_machine(2_000)
PROMPT_S = MACHINE.cost.prefill_s(1_200)


def _first_tokens(
    requests: list[Request], machine: Machine = MACHINE, max_batch: int | None = None
) -> dict[int, float]:
    limits = {r.id: r.slo_ttft_s or 1e9 for r in requests}
    run = serve(
        Orbit(),
        machine,
        requests,
        tbt_limit_s=TAU_S,
        ttft_of=lambda r: limits[r.id],
        max_batch=max_batch,
    )
    assert len(run.finished) == len(requests)
    return {number: times[0] for number, times in run.times.items()}


def _of_a_long_prompt(slo_ttft_s: float) -> float:
    """When a prompt that makes all readers late has its first token, from its arrival on."""
    readers = [Request(n, 0.0, 20, 150, None, 60.0) for n in range(READERS)]
    newcomer = Request(READERS, COMES_S, 1_200, 5, None, slo_ttft_s)
    first = _first_tokens([*readers, newcomer])
    assert all(first[n] < COMES_S for n in range(READERS))
    return first[READERS] - COMES_S


def test_a_fresh_one_is_let_in_though_it_hurts_who_can_catch_up() -> None:
    """Four readers of 150 tokens late by some three tokens each: that is caught up, for a pass
    takes a third of tau. So a request that can just make its limit is not made to wait.
    """
    assert DEFAULT.late_tokens < READERS * (PROMPT_S - COMES_S - TAU_S) / TAU_S, (
        "or nothing is tested"
    )
    a_pass_s = MACHINE.cost.decode_pass_s(READERS, READERS * 40)
    assert _of_a_long_prompt(PROMPT_S + 2.0) <= PROMPT_S + 2 * a_pass_s


def test_a_late_one_waits_until_it_hurts_nobody() -> None:
    a_pass_s = MACHINE.cost.decode_pass_s(READERS, READERS * 40)
    assert _of_a_long_prompt(PROMPT_S / 2) > _of_a_long_prompt(PROMPT_S + 2.0) + a_pass_s


@pytest.mark.parametrize("is_slow", [False, True])
def test_those_too_slow_even_alone_come_last(is_slow: bool) -> None:
    """One place. 1 is long and due first, 2 short. Where the link is so slow that the long one
    cannot be fed even alone, the short one goes first.
    """
    requests = [
        Request(0, 0.0, 20, 150, None, 60.0),
        Request(1, 0.1, 300, 150, None, 900.0),
        Request(2, 0.2, 20, 20, None, 1_000.0),
    ]
    machine = small_machine(240, link_bytes_per_s=2e5 if is_slow else 3e7)
    first = _first_tokens(requests, machine, max_batch=1)
    assert (first[2] < first[1]) is is_slow


def _of_a_giant(most_s: float) -> tuple[float, float]:
    """First token of a prompt that cannot be fed even alone, and the last of a reader who was there
    before it, while short ones that cannot wait long come until `most_s`.
    """
    gap_s = 0.1
    requests = [
        Request(0, 0.0, 20, 400, None, 60.0),
        Request(1, 0.01, 300, 20, None, 1e-6),
        *(
            Request(2 + n, gap_s * (1 + n), 5, 2, None, 2 * gap_s)
            for n in range(int(most_s / gap_s))
        ),
    ]
    machine = small_machine(240, link_bytes_per_s=2e5)
    limits = {r.id: r.slo_ttft_s or 1e9 for r in requests}
    run = serve(Orbit(), machine, requests, tbt_limit_s=TAU_S, ttft_of=lambda r: limits[r.id])
    assert len(run.finished) == len(requests)
    return run.times[1][0], run.times[0][-1]


def test_the_longest_waiting_does_not_empty_the_server_at_any_price() -> None:
    """After 63 others it is the giant's turn, which does not fit beside a reader. While nobody has
    missed a limit for it, it waits for the reader's end; not while they do, one after another.
    """
    first_s, reader_ends_s = _of_a_giant(DEFAULT.every * 0.1 - 0.1)
    assert first_s > reader_ends_s
    first_s, reader_ends_s = _of_a_giant(2 * DEFAULT.every * 0.1)
    assert DEFAULT.every * 0.1 < first_s < reader_ends_s


def test_harm_is_counted_in_requests() -> None:
    assert 0 < DEFAULT.patient_score < DEFAULT.behind_score < DEFAULT.hurried_score == 1, (
        "one that meets its limits for another"
    )
    assert DEFAULT.owed_score > DEFAULT.hurried_score


def test_what_would_be_lost_by_waiting_is_let_in_though_it_harms_readers() -> None:
    """Fourteen readers, and a long prompt. Where its limit lets it wait, it waits until they have
    balances; at the last moment it goes in, for it would be lost.
    """
    machine = small_machine(20_000)
    count, comes_s, margin_s = 14, 0.5, 0.3
    readers = [Request(n, 0.0, 20, 100, None, 60.0) for n in range(count)]
    waits = []
    for limit_s in (PROMPT_S + margin_s, PROMPT_S + 60.0):
        first = _first_tokens([*readers, Request(count, comes_s, 1_200, 5, None, limit_s)], machine)
        assert all(first[n] < comes_s for n in range(count))
        waits.append(first[count] - comes_s)
    hurried_s, patient_s = waits
    assert hurried_s <= PROMPT_S + margin_s
    assert patient_s > hurried_s + 4 * machine.cost.decode_pass_s(count, count * 30)


def _late_ones_first_token(max_batch: int, late_load: float) -> tuple[float, float]:
    """All places but one are taken for long by readers; then comes one that is late already. Its
    first token, and the first end of a reader.
    """
    readers = [Request(n, 0.0, 20, 60 + 40 * n, None, 60.0) for n in range(max_batch - 1)]
    late = Request(9, 1.0, 20, 5, None, 1e-6)
    policy = Orbit()
    policy.configure(Tuning(late_load=late_load))
    run = serve(
        policy,
        small_machine(20_000),
        [*readers, late],
        tbt_limit_s=TAU_S,
        ttft_of=lambda r: r.slo_ttft_s or 1e9,
        max_batch=max_batch,
    )
    return run.times[9][0], min(run.times[n][-1] for n in range(max_batch - 1))


def test_as_many_places_as_they_are_given() -> None:
    first, an_end = _late_ones_first_token(4, 1.0)
    assert first < an_end


@pytest.mark.parametrize(("max_batch", "keeps"), [(2, False), (4, True)])
def test_late_ones_leave_places_to_fresh_ones(max_batch: int, keeps: bool) -> None:
    first, an_end = _late_ones_first_token(max_batch, 0.75)
    assert (first > an_end) is keeps


def test_little_is_risked_among_many_while_late_ones_wait() -> None:
    few, recovery = DEFAULT.few, DEFAULT.recovery
    for count in (1, few, 4 * few):
        assert recovery_among(count, DEFAULT, keeps_up=True) == recovery
    risked = [recovery_among(n, DEFAULT, keeps_up=False) / recovery for n in (1, few, 4 * few)]
    assert risked == [1, 1, 0.25]
