"""Downloads from a server on loopback that behaves, or misbehaves, as servers do."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orbitflow.cli.trace import trace_app
from orbitflow.errors import TraceError, UserError
from orbitflow.traces import public, resolve
from orbitflow.traces.fetch import Fetched, fetch
from orbitflow.traces.public import PUBLIC_TRACES, PublicTrace

LINE = '{"timestamp": 0, "input_length": 5, "output_length": 6, "hash_ids": [3]}\n'
CONTENT = (LINE * 5000).encode()


@dataclass
class Server:
    """Serves `content` at any path; the rest is how it misbehaves."""

    address: str = ""
    content: bytes = CONTENT
    ranges: bool = True
    status: int | None = None
    sends_only: int | None = None
    lies_about_range: bool = False
    says_length: bool = True
    gate: threading.Event | None = None
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers["Range"]
            state.asked.append(wanted)
            if state.gate is not None:
                state.gate.wait(10)
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
            if state.status is not None:
                self.send_error(state.status)
                return
            if start and state.ranges and start >= len(state.content):
                self.send_error(416)
                return
            start = start if state.ranges else 0
            self.send_response(206 if start else 200)
            if start:
                first = start - state.lies_about_range
                last = len(state.content) - 1
                self.send_header("Content-Range", f"bytes {first}-{last}/{last + 1}")
            body = state.content[start:]
            if state.says_length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.sends_only])

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        state.address = f"http://127.0.0.1:{running.server_port}/toy.jsonl"
        toy = PublicTrace("toy", "toy.jsonl", state.address, hashlib.sha256(CONTENT).hexdigest())
        monkeypatch.setattr(public, "PUBLIC_TRACES", (*PUBLIC_TRACES, toy))
        yield state
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORBITFLOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "cache"


def files(cache: Path) -> dict[str, int]:
    """What lies in the cache, but for the lock."""
    return {
        path.name: path.stat().st_size for path in cache.iterdir() if path.name != ".toy.jsonl.lock"
    }


WHOLE = {"toy.jsonl": len(CONTENT)}


def test_the_whole_file(server: Server, cache: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    done = fetch("toy", progress=lambda done, total: seen.append((done, total)))
    assert done == Fetched(cache / "toy.jsonl", len(CONTENT), is_new=True)
    assert files(cache) == WHOLE
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert "sha256 verified" in resolve("toy").notices[0]
    assert not fetch("Toy.jsonl").is_new
    assert server.asked == [None]


def test_force_downloads_again(server: Server, cache: Path) -> None:
    fetch("toy")
    (cache / "toy.jsonl.partial").write_bytes(b"of another time")
    assert fetch("toy", force=True).is_new
    assert server.asked == [None, None]
    assert files(cache) == WHOLE


def test_a_damaged_copy_is_replaced(server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / "toy.jsonl").write_text("damaged")
    said: list[str] = []
    assert fetch("toy", say=said.append).is_new
    assert files(cache) == WHOLE
    assert "has another sha256 than it should" in said[0]


def test_a_broken_download_goes_on_where_it_was(server: Server, cache: Path) -> None:
    server.sends_only = 1000
    message = r"broke off after 1,000 of 365,000 bytes \(.*\); the same command goes on"
    with pytest.raises(TraceError, match=message):
        fetch("toy")
    assert files(cache) == {"toy.jsonl.partial": 1000}
    with pytest.raises(TraceError, match="broke off after 2,000 of 365,000 bytes"):
        fetch("toy")
    server.sends_only = None
    said: list[str] = []
    seen: list[tuple[int, int | None]] = []
    fetch("toy", say=said.append, progress=lambda done, total: seen.append((done, total)))
    assert server.asked == [None, "bytes=1000-", "bytes=2000-"]
    assert seen[0] == (2000, len(CONTENT))
    assert "going on after 2,000 bytes" in said[0]
    assert files(cache) == WHOLE


@pytest.mark.parametrize("says_length", [True, False])
def test_a_server_without_ranges_sends_all_again(
    server: Server, cache: Path, says_length: bool
) -> None:
    cache.mkdir()
    (cache / "toy.jsonl.partial").write_bytes(CONTENT[:70_000])
    server.ranges, server.says_length = False, says_length
    fetch("toy")
    assert server.asked == ["bytes=70000-"]
    assert files(cache) == WHOLE


@pytest.mark.parametrize(
    ("partial", "asked"),
    [(CONTENT, ["bytes=365000-"]), (CONTENT + b"more", ["bytes=365004-", None])],
)
def test_a_partial_file_with_nothing_missing(
    server: Server, cache: Path, partial: bytes, asked: list[str | None]
) -> None:
    cache.mkdir()
    (cache / "toy.jsonl.partial").write_bytes(partial)
    fetch("toy")
    assert server.asked == asked
    assert files(cache) == WHOLE


def test_a_range_that_was_not_asked_for(server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / "toy.jsonl.partial").write_bytes(CONTENT[:1000])
    server.lies_about_range = True
    with pytest.raises(TraceError, match="another part of the file"):
        fetch("toy")


def test_another_file_is_removed(server: Server, cache: Path) -> None:
    server.content = CONTENT + b"\n"
    with pytest.raises(TraceError, match="what was received has sha256 ") as caught:
        fetch("toy")
    for content in (CONTENT, server.content):
        assert hashlib.sha256(content).hexdigest() in str(caught.value)
    assert files(cache) == {}


def test_a_partial_of_another_file_is_found_out(server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / "toy.jsonl.partial").write_bytes(b"x" * 1000)
    with pytest.raises(TraceError, match="it was removed"):
        fetch("toy")
    assert fetch("toy").is_new


@pytest.mark.parametrize(("status", "reason"), [(404, "404 Not Found"), (503, "503 Service")])
def test_a_server_that_refuses(server: Server, cache: Path, status: int, reason: str) -> None:
    server.status = status
    with pytest.raises(TraceError, match=f"cannot get {server.address} \\({reason}") as caught:
        fetch("toy")
    assert "\n" not in str(caught.value)
    assert files(cache) == {}


def test_no_network(server: Server, cache: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    address = f"http://127.0.0.1:{port}/x"
    with pytest.raises(TraceError) as caught:
        fetch("toy", url=address)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"cannot get {address} (")
    assert message.endswith(f"a copy fetched by hand can be put at {cache / 'toy.jsonl'}")


def test_another_address_of_the_same_file(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = public.find_public("toy")
    assert toy is not None
    lost = PublicTrace("toy", "toy.jsonl", "http://127.0.0.1:9/lost", toy.sha256)
    monkeypatch.setattr(public, "PUBLIC_TRACES", (lost,))
    assert fetch("toy", url=server.address).is_new


@pytest.mark.parametrize("url", ["file:///etc/passwd", "toy.jsonl", ""])
def test_addresses_that_are_none(server: Server, url: str) -> None:
    with pytest.raises(UserError, match="must begin with https:// or http://"):
        fetch("toy", url=url)


@pytest.mark.parametrize("url", ["http://", "http://127.0.0.1:x/", "http://a b/", "http://[/"])
def test_addresses_that_lead_nowhere(server: Server, url: str) -> None:
    with pytest.raises(TraceError, match="cannot get"):
        fetch("toy", url=url)


def test_two_at_once_download_once(server: Server, cache: Path) -> None:
    server.gate = threading.Event()
    waits = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(fetch, "toy", say=lambda text: waits.set()) for _ in range(2)]
        try:
            assert waits.wait(10)  # one of them found the lock taken
        finally:
            server.gate.set()
        assert sorted(one.result().is_new for one in both) == [False, True]
    assert server.asked == [None]
    assert files(cache) == WHOLE


def test_a_cache_that_cannot_be_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ORBITFLOW_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(TraceError, match=r"cannot be written \(Not a directory\)"):
        fetch("toy")


def test_strangers() -> None:
    with pytest.raises(TraceError, match="not the name of a public trace; did you mean mooncake"):
        fetch("mooncacke")


def test_the_command(server: Server, cache: Path) -> None:
    result = CliRunner().invoke(trace_app, ["fetch", "toy"])
    assert result.exception is None
    assert result.stdout == ""
    assert result.stderr == (
        f"{cache / 'toy.jsonl'}: fetched, {len(CONTENT):,} bytes, sha256 verified\n"
    )
    again = CliRunner().invoke(trace_app, ["fetch", "toy"])
    assert "is there already" in again.stderr


def test_help_names_every_public_trace() -> None:
    text = " ".join(CliRunner().invoke(trace_app, ["fetch", "--help"]).stdout.split())
    for one in PUBLIC_TRACES:
        assert one.name in text
        assert one.url.startswith("https://")
