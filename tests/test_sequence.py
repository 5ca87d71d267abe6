"""A request's progress, as differences of pass numbers."""

from __future__ import annotations

import pytest

from orbitflow.placement import HostLayers
from orbitflow.request import Phase, Request, RequestState


def make(host: HostLayers = (), target: HostLayers | None = None) -> RequestState:
    return RequestState(
        Request(3, 1.0, 100, 10), 2.0, 0.1, host, host if target is None else target
    )


def test_what_a_request_holds_at_its_end() -> None:
    """The last token's own KV is never written."""
    assert Request(0, 0.0, 100, 10).final_tokens == 109
    assert Request(0, 0.0, 100, 1).final_tokens == 100


def test_before_the_first_token() -> None:
    one = make()
    assert (one.id, one.state) == (3, Phase.PREFILL)
    assert one.generated_tokens(50) == 0
    assert one.context_tokens(50) == 101, "its first decode pass has the first token"


def test_running_stopping_and_running_again() -> None:
    """First token by prefill before pass 20, two passes, a break, seven more."""
    one = make()
    one.prefilled_tokens = 100
    one.generated_before = 1
    one.start(20)
    assert (one.state, one.finish_pass) == (Phase.RUNNING, 29)
    assert one.generated_tokens(20) == 1
    assert (one.generated_tokens(22), one.context_tokens(22)) == (3, 103)
    one.stop(22, Phase.PARKED)
    assert one.generated_tokens(30) == 3
    assert one.context_tokens(30) == 103
    one.start(30)
    assert one.finish_pass == 37
    one.stop(37, Phase.FINISHED)
    assert one.history == [(20, 22), (30, 37)]
    assert one.generated_tokens(99) == 10


def test_stopped_at_once_leaves_no_span() -> None:
    one = make()
    one.generated_before = 1
    one.start(5)
    one.stop(5, Phase.PARKED)
    assert one.history == []
    assert one.generated_before == 1


@pytest.mark.parametrize(
    ("host", "target", "streamed"),
    [
        ((), (), ()),
        ((1, 3), (1, 3), (1, 3)),
        ((1, 3), (), (1, 3)),
        ((), (1, 3), (1, 3)),
        ((0, 2), (1, 2), (0, 1, 2)),
    ],
)
def test_streamed_is_on_the_host_or_leaving(
    host: HostLayers, target: HostLayers, streamed: HostLayers
) -> None:
    assert make(host, target).streamed_layers == streamed
