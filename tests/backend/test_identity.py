"""No policy changes a bit: tokens and logits of every exact policy equal those without offloading,
in every link mode, with freed pages poisoned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from torch import Tensor  # noqa: E402

from orbitflow.backend.decoder import Decoder  # noqa: E402
from orbitflow.backend.executor import TorchExecutor  # noqa: E402
from orbitflow.backend.models import load_model  # noqa: E402
from orbitflow.backend.pages import Use  # noqa: E402
from orbitflow.backend.plane import cpu_plane  # noqa: E402
from orbitflow.backend.pool import PageShape  # noqa: E402
from orbitflow.backend.stepped_channel import LinkMode  # noqa: E402
from orbitflow.backend.store import KvStore  # noqa: E402
from orbitflow.backend.wall_clock import WallClock  # noqa: E402
from orbitflow.cost import CostModel  # noqa: E402
from orbitflow.memory import KvLimits  # noqa: E402
from orbitflow.policy.orbitflow import OrbitFlow  # noqa: E402
from orbitflow.policy.registry import make_policy  # noqa: E402
from orbitflow.profile import DecodeFit, HostFit, LinkFit, PrefillFit  # noqa: E402
from orbitflow.request import Request  # noqa: E402
from orbitflow.serving import ServingCore  # noqa: E402
from orbitflow.step import Idle, MoveKind  # noqa: E402
from orbitflow.tuning import Tuning  # noqa: E402

PAGE, LAYERS = 4, 4
Logits = dict[int, list[Tensor]]

# Lengths around page boundaries; several at once, some alone.
REQUESTS = tuple(
    Request(i, 0.0, prompt, output)
    for i, (prompt, output) in enumerate(
        [(3, 9), (4, 12), (5, 20), (8, 8), (15, 17), (16, 16), (1, 30), (21, 2), (7, 1), (12, 24)]
    )
)
EXACT = (
    *("preempt-swap", "deepspeed", "zero-inference", "flexgen", "static-1", "static-2"),
    *("flexgen-plus", "dynamic", "select-n", "select-n-artifact", "uniform-ilp"),
)


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = load_model("tiny", torch.device("cpu"), seed=3)
    yield Decoder(model.architecture, model.weights)
    torch.set_num_threads(threads)


def prompt(request: Request) -> list[int]:
    draw = torch.Generator().manual_seed(request.id)
    tokens: list[int] = torch.randint(0, 2048, (request.prompt_tokens,), generator=draw).tolist()
    return tokens


class Served:
    """A workload served by real tokens, steps as fast as they come."""

    def __init__(
        self,
        decoder: Decoder,
        policy: str | OrbitFlow,
        gpu_tokens: int,
        mode: LinkMode = LinkMode.LATE,
        *,
        chunk: int = 0,
        requests: tuple[Request, ...] = REQUESTS,
    ) -> None:
        limits = KvLimits(LAYERS, PAGE, gpu_tokens // PAGE * LAYERS, 4000)
        shape = PageShape(PAGE, decoder.kv_heads, decoder.head_dim, decoder.dtype)
        link = LinkFit(0.0, (1.0,), (2e8,))
        cost = CostModel(
            LAYERS, PAGE, shape.page_bytes, DecodeFit(0.002, 0.0004, 1e-6, 0.0),
            PrefillFit(0.001, 1e-5, 0.0), link, link, 0.0, HostFit(1e9, 1e9),
        )  # fmt: skip
        chosen = make_policy(policy) if isinstance(policy, str) else policy
        chosen.bind(limits, cost)
        core = ServingCore(chosen, limits, tau_s=0.003, max_batch=6, prefill_chunk=chunk)
        clock = WallClock()
        plane = cpu_plane(
            shape, limits.gpu_pages, 4000, clock, link_bytes_per_s=None, mode=mode, poison=True
        )
        store = KvStore(plane, LAYERS, chosen.data_plane)
        self.logits: Logits = {}
        self.kinds: set[MoveKind] = set()
        self.parks = 0
        executor = TorchExecutor(
            decoder, plane, store, clock, {r.id: r for r in requests}, prompt,
            data_plane=chosen.data_plane, account=core.account, roster=core.roster,
            on_logits=lambda i, row: self.logits.setdefault(i, []).append(row.clone()),
        )  # fmt: skip
        try:
            self._serve(core, executor, clock.now_s, requests)
        finally:
            executor.close()
        book = plane.device.book
        assert book.held == book.used_for(Use.RING), "only the ring outlives the last request"
        assert plane.host.book.held == 0
        self.tokens = executor.tokens

    def _serve(
        self,
        core: ServingCore,
        executor: TorchExecutor,
        now_s: Callable[[], float],
        requests: tuple[Request, ...],
    ) -> None:
        """All but the last three arrive at once, those one by one while the others run."""
        late = list(requests[-3:])
        for request in requests[:-3]:
            assert core.submit(request, now_s()) is None
        steps = 0
        while not (core.is_drained and not late):
            steps += 1
            if late and steps % 4 == 0:
                assert core.submit(late.pop(0), now_s()) is None
            step = core.next_step(now_s())
            if step.plan_request is not None:
                core.adopt(core.solve(step.plan_request), now_s())
            if isinstance(step, Idle):
                continue
            self.kinds |= {move.kind for move in step.moves}
            outcome = executor.execute(step, now_s())
            events = core.finish(step, outcome)
            self.parks += len(events.paused)
            assert steps < 5000, "no end in sight"


@pytest.fixture(scope="module")
def alone(decoder: Decoder) -> Logits:
    """Each request by itself with everything resident."""
    logits: Logits = {}
    for request in REQUESTS:
        logits |= Served(decoder, "no-offload", 4000, requests=(request,)).logits
    return logits


def same(got: Logits, want: Logits) -> None:
    assert got.keys() == want.keys()
    for request_id, rows in want.items():
        assert len(got[request_id]) == len(rows)
        for number, (a, b) in enumerate(zip(got[request_id], rows, strict=True)):
            assert torch.equal(a, b), f"request {request_id}, token {number}"


def test_serving_together_changes_nothing(decoder: Decoder, alone: Logits) -> None:
    same(Served(decoder, "no-offload", 4000).logits, alone)


@pytest.mark.parametrize("mode", [LinkMode.LATE, LinkMode.EARLY, LinkMode.PACED])
@pytest.mark.parametrize("policy", EXACT)
def test_no_policy_changes_a_bit(
    decoder: Decoder, alone: Logits, policy: str, mode: LinkMode
) -> None:
    served = Served(decoder, policy, 72, mode)
    same(served.logits, alone)


@pytest.mark.parametrize("tokens", [56, 72, 100, 140])
@pytest.mark.parametrize("gate", [True, False])
def test_orbitflow_parks_and_streams_and_changes_nothing(
    decoder: Decoder, alone: Logits, tokens: int, gate: bool
) -> None:
    policy = OrbitFlow()
    policy.configure(Tuning(gate=gate))
    served = Served(decoder, policy, tokens)
    same(served.logits, alone)
