"""Downloads of public traces into the cache: resumed where they broke off, believed by checksum.

Bytes go to a `.partial` neighbour, which takes the final name only once its sha256 is right; so the
cache never shows half a file, and a second try asks only for the rest (HTTP Range). A lock file
makes two fetches of one trace take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orbitflow import __version__
from orbitflow.errors import TraceError, UserError
from orbitflow.traces.fields import quoted
from orbitflow.traces.public import PublicTrace, cache_dir, find_public, nearest_public, sha256_of

if TYPE_CHECKING:
    from http.client import HTTPResponse

TIMEOUT_S = 30.0
_READ_BYTES = 1 << 16

Progress = Callable[[int, int | None], None]
"""Told the bytes so far, and of how many, if the server says."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A public trace in the cache; `is_new` unless it was there before."""

    path: Path
    size_bytes: int
    is_new: bool


def fetch(
    name: str,
    *,
    url: str | None = None,
    force: bool = False,
    progress: Progress = lambda done, total: None,
    say: Callable[[str], None] = lambda notice: None,
) -> Fetched:
    """Put a public trace into the cache, from `url` or its public address, unless it is there.

    With `force` download it afresh in any case. Raise a TraceError if it cannot be had, or if what
    was received is something else.
    """
    public = find_public(name)
    if public is None:
        raise TraceError(f"{quoted(name)}: not the name of a public trace; {nearest_public(name)}")
    if url is not None and not url.startswith(("https://", "http://")):
        raise UserError(f"--url {quoted(url)}: must begin with https:// or http://")
    cached = cache_dir() / public.file_name
    with _alone(cached, say):
        if cached.exists() and not force:
            if sha256_of(cached) == public.sha256:
                return Fetched(cached, cached.stat().st_size, is_new=False)
            say(f"{cached}: has another sha256 than it should, and is replaced")
        download = _Download(public, url or public.url, cached, progress, say)
        if force:
            download.start_afresh()
        download.run()
        return Fetched(cached, cached.stat().st_size, is_new=True)


@contextmanager
def _alone(cached: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Make the folder, and let nobody else fetch this file into it."""
    from fcntl import LOCK_EX, LOCK_NB, flock

    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        file = cached.with_name(f".{cached.name}.lock").open("a")
    except OSError as error:
        raise _unwritable(cached, error) from None
    with file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            say(f"{cached}: another fetch of it is under way; waiting for it")
            flock(file, LOCK_EX)
        except OSError as error:
            raise TraceError(f"{file.name}: cannot be locked ({error.strerror})") from None
        yield


@dataclass(slots=True)
class _Download:
    public: PublicTrace
    url: str
    cached: Path
    progress: Progress
    say: Callable[[str], None]

    @property
    def partial(self) -> Path:
        return self.cached.with_name(f"{self.cached.name}.partial")

    def start_afresh(self) -> None:
        try:
            self.partial.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self.partial, error) from None

    def run(self) -> None:
        """Receive what is missing, check the whole, give it its name."""
        self._receive()
        digest = sha256_of(self.partial)
        if digest != self.public.sha256:
            self.start_afresh()
            raise TraceError(
                f"{self.url}: what was received has sha256 {digest}, expected "
                f"{self.public.sha256}; it was removed"
            )
        try:
            self.partial.replace(self.cached)
        except OSError as error:
            raise _unwritable(self.cached, error) from None

    def _receive(self) -> None:
        have = self.partial.stat().st_size if self.partial.exists() else 0
        response = self._ask(have)
        if response is None:
            if sha256_of(self.partial) == self.public.sha256:
                return
            have, response = 0, self._ask(0)
        if response is None:  # no range was asked for, so none can be out of range
            raise self._unreachable("416 Range Not Satisfiable")
        with response:
            start, total = _extent(response, have)
            if start is None:
                raise self._unreachable("it sent another part of the file than asked for")
            if start:
                self.say(f"{self.partial}: going on after {start:,} bytes")
            self._append(response, start, total)

    def _ask(self, have: int) -> HTTPResponse | None:
        """Ask for the file from byte `have` on; None if the server says there is nothing there."""
        from http.client import HTTPException, HTTPResponse
        from urllib.error import HTTPError
        from urllib.request import Request, urlopen

        headers = {"User-Agent": f"orbitflow/{__version__}", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        try:
            response = urlopen(Request(self.url, headers=headers), timeout=TIMEOUT_S)
        except HTTPError as error:
            error.close()
            if error.code == 416 and have:
                return None
            raise self._unreachable(f"{error.code} {error.reason}") from None
        except (OSError, HTTPException, ValueError) as error:
            raise self._unreachable(getattr(error, "reason", error)) from None
        assert isinstance(response, HTTPResponse)
        return response

    def _append(self, response: HTTPResponse, done: int, total: int | None) -> None:
        try:
            with self.partial.open("ab" if done else "wb") as file:
                self.progress(done, total)
                for block in self._blocks(response, file.tell, total):
                    file.write(block)
                    done += len(block)
                    self.progress(done, total)
        except OSError as error:
            raise _unwritable(self.partial, error) from None
        if total is not None and done < total:
            raise self._broken_off(done, total, "the server sent no more")

    def _blocks(
        self, response: HTTPResponse, done: Callable[[], int], total: int | None
    ) -> Iterator[bytes]:
        from http.client import HTTPException

        while True:
            try:
                block = response.read(_READ_BYTES)
            except (OSError, HTTPException) as error:
                raise self._broken_off(done(), total, error) from None
            if not block:
                return
            yield block

    def _unreachable(self, reason: object) -> TraceError:
        return TraceError(
            f"cannot get {self.url} ({_one_line(reason)}); a copy fetched by hand can be put at "
            f"{self.cached}"
        )

    def _broken_off(self, done: int, total: int | None, reason: object) -> TraceError:
        of_total = "" if total is None else f" of {total:,}"
        return TraceError(
            f"{self.url}: broke off after {done:,}{of_total} bytes ({_one_line(reason)}); "
            "the same command goes on from there"
        )


def _extent(response: HTTPResponse, have: int) -> tuple[int | None, int | None]:
    """Return the first byte that the server sends, None if unasked for, and the file's size."""
    length = response.headers.get("Content-Length", "")
    size = int(length) if length.isascii() and length.isdigit() else None
    if response.status != 206:
        return 0, size  # the whole file, whatever was asked for
    unit_and_start = response.headers.get("Content-Range", "").partition("-")[0]
    if unit_and_start != f"bytes {have}":
        return None, None
    return have, None if size is None else have + size


def _one_line(reason: object) -> str:
    return " ".join(str(reason).split()) or type(reason).__name__


def _unwritable(path: Path, error: OSError) -> TraceError:
    reason = error.strerror or _one_line(error)
    return TraceError(
        f"{path}: cannot be written ({reason}); $ORBITFLOW_CACHE names another folder"
    )
