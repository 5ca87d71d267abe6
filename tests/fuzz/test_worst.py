"""A bad input of 1 MB costs less than 2 s of CPU and 500 MB, and only plain files are read.

One process reads every kind of junk with every reader, under a limit of the kernel that kills it if
one input takes too long.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fuzz.mutations import junk
from fuzz.readers import READERS
from fuzz.samples import make
from orbitflow.errors import OrbitFlowError, UserError

SIZE = 1_000_000
CPU_S, MEMORY_BYTES = 2, 500_000_000
_TESTS = Path(__file__).parents[1]


def read_all(root: Path) -> None:
    """Read every kind of junk with every reader; print the name of each before."""
    for reader in READERS:
        if reader.is_slow and reader.name != "journal":
            continue
        good = (root / reader.file).read_bytes()
        for name, content in junk(SIZE).items():
            print(reader.name, name, flush=True)
            (root / reader.file).write_bytes(content)
            used_s = resource.getrusage(resource.RUSAGE_SELF).ru_utime
            resource.setrlimit(resource.RLIMIT_CPU, (int(used_s) + CPU_S + 2, -1))
            try:
                reader.read(root)
            except OrbitFlowError as refusal:
                said = str(refusal)
            else:
                said = ""
            assert "\n" not in said
            assert len(said) < 2000
        (root / reader.file).write_bytes(good)
    most_bytes = peak_bytes()
    assert most_bytes < MEMORY_BYTES, f"{most_bytes:,} bytes"


def peak_bytes() -> int:
    """The most memory that this process had. What `getrusage` says begins with its parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM in /proc/self/status")


def test_a_megabyte_of_junk(tmp_path: Path) -> None:
    make(tmp_path)
    paths = os.pathsep.join((str(_TESTS.parent), str(_TESTS)))
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stdout.splitlines()[-1:]
    assert done.returncode == 0, f"{last}: {done.stderr[-2000:]}"


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make_odd", [_pipe, _device, Path.mkdir], ids=["pipe", "device", "folder"])
def test_only_plain_files_are_read(make_odd: Callable[[Path], None], tmp_path: Path) -> None:
    """A pipe that nobody writes to would be waited for, a device be read, without end."""
    make(tmp_path)
    for reader in READERS:
        path = tmp_path / reader.file
        good = path.read_bytes()
        path.unlink()
        make_odd(path)
        signal.alarm(60)  # ends the tests if one hangs
        with pytest.raises(UserError):
            reader.read(tmp_path)
        signal.alarm(0)
        path.rmdir() if path.is_dir() else path.unlink()
        path.write_bytes(good)


if __name__ == "__main__":
    read_all(Path(sys.argv[1]))
