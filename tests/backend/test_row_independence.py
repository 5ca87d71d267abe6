"""A row's bits do not depend on who else is in the batch, on its place, or on how its KV is cut."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the backend needs torch")

import torch
from reference.decoding import Text, decode, generate, prefill

from orbitflow.backend.decoder import Decoder
from orbitflow.backend.models import load_model

torch.set_num_threads(1)

CPU = torch.device("cpu")
LENGTHS = (5, 64, 31, 17, 40, 3, 65, 1, 16, 33, 12)
STEPS = 6


@pytest.fixture(scope="module", params=["tiny-llama", "tiny-qwen3", "tiny"])
def decoder(request: pytest.FixtureRequest) -> Decoder:
    loaded = load_model(request.param, CPU, seed=3)
    return Decoder(loaded.architecture, loaded.weights)


def prompt(number: int) -> list[int]:
    dice = torch.Generator().manual_seed(number)
    return torch.randint(0, 512, (LENGTHS[number],), generator=dice).tolist()


def same(one: Text, other: Text) -> bool:
    """Bitwise, logits and all."""
    logits = zip(one.logits, other.logits, strict=True)
    return one.tokens == other.tokens and all(torch.equal(a, b) for a, b in logits)


@pytest.mark.parametrize("order", [range(11), range(10, -1, -1), (4, 0), (3, 9, 8, 2, 1, 0, 5, 6)])
def test_alone_or_in_any_company(decoder: Decoder, order: range | tuple[int, ...]) -> None:
    """Eleven requests take two blocks of eight rows; one joins late."""
    alone = [generate(decoder, prompt(n), STEPS) for n in order]
    together = [Text(prompt(n)) for n in order]
    for text in together:
        prefill(decoder, text)
    decode(decoder, together[1:])
    for _ in range(STEPS - 2):
        decode(decoder, together)
    decode(decoder, together[:1])
    assert all(map(same, alone, together))


@pytest.mark.parametrize("rows", [2, 4, 8])
def test_small_blocks_serve_too(rows: int) -> None:
    loaded = load_model("tiny-llama", CPU)
    decoder = Decoder(loaded.architecture, loaded.weights, block_rows=rows)
    batch = [Text(prompt(n)) for n in range(5)]
    for text in batch:
        prefill(decoder, text)
    for _ in range(STEPS - 1):
        decode(decoder, batch)
    assert all(same(generate(decoder, prompt(n), STEPS), batch[n]) for n in range(5))


@pytest.mark.parametrize("page_tokens", [1, 7, 64, 1000])
def test_however_the_kv_is_cut(decoder: Decoder, page_tokens: int) -> None:
    whole = generate(decoder, prompt(6), STEPS, chunk_tokens=16, page_tokens=16)
    assert same(
        whole, generate(decoder, prompt(6), STEPS, chunk_tokens=16, page_tokens=page_tokens)
    )


@pytest.mark.parametrize("chunk_tokens", [1, 16, 24, 64])
def test_prefill_in_chunks(decoder: Decoder, chunk_tokens: int) -> None:
    """Equal to the whole in tolerance, to itself bit for bit."""
    whole, chunks, again = Text(prompt(6)), Text(prompt(6)), Text(prompt(6))
    prefill(decoder, whole)
    prefill(decoder, chunks, chunk_tokens)
    prefill(decoder, again, chunk_tokens, page_tokens=5)
    torch.testing.assert_close(whole.logits[0], chunks.logits[0], atol=1e-4, rtol=0)
    for layer in range(decoder.layers):
        torch.testing.assert_close(whole.k[layer], chunks.k[layer], atol=1e-4, rtol=0)
        assert torch.equal(chunks.k[layer], again.k[layer])
        assert torch.equal(chunks.v[layer], again.v[layer])
    assert same(chunks, again)


def test_decode_continues_what_prefill_began(decoder: Decoder) -> None:
    """The last tokens by decode passes give the logits that prefill gives them."""
    tokens = prompt(1)
    whole, stepwise = Text(list(tokens)), Text(tokens[:-4])
    prefill(decoder, whole)
    prefill(decoder, stepwise)
    for token in tokens[-4:]:
        stepwise.tokens[-1] = token
        decode(decoder, [stepwise])
    torch.testing.assert_close(whole.logits[0], stepwise.logits[-1], atol=1e-4, rtol=0)
