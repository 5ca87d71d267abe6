"""The decode batch against sums made from scratch."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from orbitflow.engine.batch import DecodeBatch
from orbitflow.placement import HostLayers
from orbitflow.request import Phase, Request, RequestState

PLACES: tuple[HostLayers, ...] = ((), (1,), (1, 3))


def sequence(number: int, prompt: int, host: HostLayers, target: HostLayers) -> RequestState:
    return RequestState(
        Request(number, 0.0, prompt, 10**6),
        0.0,
        0.1,
        host,
        target,
        generated_before=1,
        prefilled_tokens=prompt,
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from("jlmp"),
            st.integers(0, 30),
            st.sampled_from(PLACES),
            st.sampled_from(PLACES),
            st.integers(0, 3),
        ),
        max_size=40,
    )
)
@settings(derandomize=True, deadline=None)
def test_kept_up_to_date(ops: list[tuple[str, int, HostLayers, HostLayers, int]]) -> None:
    """Joining, leaving, moving and passing, in any order."""
    batch, passes = DecodeBatch(), 0
    running: dict[int, RequestState] = {}
    for number, (kind, pick, host, target, count) in enumerate(ops):
        if kind == "j":
            running[number] = sequence(number, pick + 1, host, target)
            batch.join(running[number], passes)
        elif running and kind == "l":
            one = running.pop(sorted(running)[pick % len(running)])
            batch.leave(one, passes)
            one.stop(passes, Phase.FINISHED)
        elif running and kind == "m":
            one = running[sorted(running)[pick % len(running)]]
            one.host, one.target = host, target
            batch.touch()
        batch.refresh()
        contexts = {i: s.context_tokens(passes) for i, s in running.items()}
        assert dict(zip(batch.ids, batch.contexts(passes).tolist(), strict=True)) == contexts
        assert batch.context_tokens == sum(contexts.values())
        streamed = sorted(
            (s.streamed_layers, s.target, contexts[i])
            for i, s in running.items()
            if s.streamed_layers
        )
        found = sorted(
            (stream.layers, stream.staged, context)
            for stream in batch.streams(passes)
            for context in stream.contexts.tolist()
        )
        assert found == streamed
        batch.advance(count)
        passes += count


def test_version_grows_with_every_change_and_only_then() -> None:
    batch = DecodeBatch()
    one, two = sequence(0, 5, (), ()), sequence(1, 6, (), ())
    versions = [batch.version]

    def refreshed() -> int:
        batch.refresh()
        versions.append(batch.version)
        return versions[-1] - versions[-2]

    assert refreshed() == 0
    batch.join(one, 0)
    batch.join(two, 0)
    assert refreshed() == 1
    batch.advance(3)
    assert refreshed() == 0
    one.host = one.target = (1,)
    batch.touch()
    assert refreshed() == 1
    batch.leave(two, 3)
    assert refreshed() == 1
    assert batch.ids == (0,)


def test_equal_placements_are_one_stream() -> None:
    """Three requests stream layers 1 and 3; one of them is being promoted off layer 3."""
    batch = DecodeBatch()
    batch.join(sequence(0, 10, (1, 3), (1, 3)), 0)
    batch.join(sequence(1, 20, (1, 3), (1, 3)), 0)
    batch.join(sequence(2, 30, (1, 3), (1,)), 0)
    batch.join(sequence(3, 40, (), ()), 0)
    batch.refresh()
    streams = [(s.layers, s.staged, s.contexts.tolist()) for s in batch.streams(2)]
    assert streams == [((1, 3), (1, 3), [13, 23]), ((1, 3), (1,), [33])]


def test_nobody_streams_when_all_is_resident() -> None:
    batch = DecodeBatch()
    batch.join(sequence(0, 10, (), ()), 0)
    batch.refresh()
    assert batch.streams(0) == ()
