"""The whole backend together: driver, core, executor and data plane, on the wall clock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from orbitflow.backend.clock import AlarmClock  # noqa: E402
from orbitflow.backend.driver import Driver  # noqa: E402
from orbitflow.backend.executor import TorchExecutor  # noqa: E402
from orbitflow.backend.kv.plane import cpu_plane  # noqa: E402
from orbitflow.backend.kv.pool import PageShape  # noqa: E402
from orbitflow.backend.kv.store import KvStore  # noqa: E402
from orbitflow.backend.model.checkpoint import load_model  # noqa: E402
from orbitflow.backend.model.decoder import Decoder  # noqa: E402
from orbitflow.config import DeliveryPace  # noqa: E402
from orbitflow.engine.engine import ServingCore  # noqa: E402
from orbitflow.machine.cost import CostModel  # noqa: E402
from orbitflow.machine.line_passes import DecodeFit, LinePasses, PrefillFit  # noqa: E402
from orbitflow.machine.profile import HostFit, LinkFit  # noqa: E402
from orbitflow.memory import KvLimits  # noqa: E402
from orbitflow.policy.registry import make_policy  # noqa: E402
from orbitflow.request import Request  # noqa: E402
from orbitflow.results.recorder import Recorder  # noqa: E402
from orbitflow.slo import Slo  # noqa: E402

PAGE, LAYERS = 16, 4
REQUESTS = tuple(Request(i, 0.02 * i, 20 + 13 * i, 30 + 5 * (i % 3)) for i in range(7))


def prompt(request: Request) -> list[int]:
    return [(7 * request.id + k) % 2048 for k in range(request.prompt_tokens)]


class Lines:
    def __init__(self) -> None:
        self.rows: list[str] = []

    def write(self, text: str) -> None:
        self.rows.append(text)


def run(decoder: Decoder, name: str, gpu_tokens: int) -> tuple[dict[int, list[int]], Recorder]:
    """Serve the workload in real time; return all tokens and the record."""
    limits = KvLimits(LAYERS, PAGE, gpu_tokens // PAGE * LAYERS, 2000)
    shape = PageShape(PAGE, decoder.kv_heads, decoder.head_dim, decoder.dtype)
    link = LinkFit(0.0, (1.0,), (4e8,))
    cost = CostModel(
        LAYERS, PAGE, shape.page_bytes, LinePasses(DecodeFit(0.003, 0.0005, 1e-6, 0.0),
        PrefillFit(0.001, 2e-5, 0.0)), link, link, 0.0, HostFit(1e9, 1e9),
    )  # fmt: skip
    policy = make_policy(name)
    policy.bind(limits, cost)
    core = ServingCore(policy, limits, tbt_limit_s=0.02, max_batch=6)
    clock = AlarmClock()
    plane = cpu_plane(shape, limits.gpu_pages, 2000, clock, poison=True)
    executor = TorchExecutor(
        decoder, plane, KvStore(plane, LAYERS, policy.data_plane), clock,
        {r.id: r for r in REQUESTS}, prompt,
        data_plane=policy.data_plane, account=core.account, queues=core.queues,
    )  # fmt: skip
    slo = Slo(0.02, 2.0, 5.0, "test")
    recorder = Recorder(
        core, cost, slo, deposit=True, delivery=DeliveryPace.SLO, requests_out=Lines(),
        progress=lambda done: None,
    )  # fmt: skip
    ending = Driver(core, executor, REQUESTS, recorder, clock=clock).run()
    assert ending.is_complete
    return executor.tokens, recorder


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    """A decoder that computes on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = load_model("tiny", torch.device("cpu"), seed=1)
    yield Decoder(model.architecture, model.weights)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def resident(decoder: Decoder) -> dict[int, list[int]]:
    """All tokens where nothing is ever offloaded."""
    return run(decoder, "no-offload", 4000)[0]


@pytest.mark.parametrize("name", ["dynamic", "static-1", "orbitflow", "orbit", "preempt-swap"])
def test_real_runs_give_the_same_text_and_a_record(
    name: str, decoder: Decoder, resident: dict[int, list[int]]
) -> None:
    got, recorder = run(decoder, name, 208)
    assert got == resident
    figures = recorder.report(make_policy(name), deposit=True).figures
    assert figures["completed"] == len(REQUESTS)
    assert figures["output_tokens"] == sum(r.output_tokens for r in REQUESTS)
    link = figures["link"]
    assert isinstance(link, dict)
    if name == "static-1":
        assert link["h2d_bytes"] > 0
        assert link["busy_share"] > 0
