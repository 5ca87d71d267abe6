"""Streams that are closed, disks that are full, names that are no text."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orbitflow.errors import UserError
from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.profile import to_json
from orbitflow.results.run_folder import RunFolder

VERBS = (
    "sim --trace demo --num-requests 3 --policy no-offload --out o",
    "profile show h100-roofline",
    "trace inspect demo",
    "plan --trace demo --num-requests 3 --at 1s",
)


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "0<&- 1>&- 2>&-", "| head -c 1 >/dev/null"])
@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_minds_a_closed_stream(tmp_path: Path, verb: str, closed: str) -> None:
    command = f"{sys.executable} -m orbitflow {verb} {closed}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1)


def test_a_folder_that_cannot_begin_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, *_: object, **__: object) -> None:
        self.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        RunFolder(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_may_not_be_made_is_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(self: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(Path, "mkdir", closed)
    with pytest.raises(UserError, match="Read-only file system"):
        RunFolder(tmp_path / "a" / "b")


def test_a_full_disk_is_named_with_what_to_do(tmp_path: Path) -> None:
    code = (
        "import errno, os, sys\n"
        "from pathlib import Path\n"
        "def full(self, *a, **k):\n"
        "    raise OSError(errno.ENOSPC, 'No space left on device', str(self))\n"
        "Path.write_text = full\n"
        "sys.argv = ['orbitflow', 'sim', '--trace', 'demo', '--out', 'o', '-q']\n"
        "from orbitflow.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert (
        done.stderr
        == "orbitflow: o: No space left on device: free space there, or name another folder\n"
    )
    assert not (tmp_path / "o").exists()


def test_a_name_with_control_characters_is_refused_and_never_printed(tmp_path: Path) -> None:
    document = json.loads(to_json(resolve_profile("h100-roofline")))
    document["name"] = "\x1b]0;pwn\x07red"
    path = tmp_path / "p\x1b[31m.json"
    path.write_text(json.dumps(document))
    command = [sys.executable, "-m", "orbitflow", "profile", "show", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "a text without control characters" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
