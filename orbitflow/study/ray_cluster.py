"""The way to a Ray cluster that is there already, and out again.

Ray itself tries an address in vain for minutes and complains on stderr meanwhile, so an address is
asked for an answer first: whether its port is open, then whether a cluster's head is behind it.
"""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import warnings
from types import ModuleType

from orbitflow.errors import UserError, how_to_install

AUTO = "auto"
_OPEN_S, _ANSWER_S = 5.0, 20.0


def check_ray() -> None:
    """Raise a UserError that names the extra if Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise UserError(f"--executor ray needs Ray: {how_to_install('ray')}")


def import_ray() -> ModuleType:
    """Ray, or a UserError that names its extra."""
    check_ray()
    import ray

    return ray


def connect(address: str) -> None:
    """Connect this process to the cluster at `address`: host:port, or the one that runs here.

    Raise a UserError where Ray is not installed or no cluster answers.
    """
    ray = import_ray()
    if ray.is_initialized():
        raise UserError("--executor ray: this process is connected to a Ray cluster already")
    if address != AUTO:
        _check_port(address)
        _check_head(address)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of changes to come in Ray
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:
        raise _no_answer(address, first_line(error)) from None


def disconnect() -> None:
    """Leave the cluster; it goes on without us."""
    import_ray().shutdown()


def first_line(error: Exception) -> str:
    """What an error says, without its stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".:") if lines else type(error).__name__


def _check_port(address: str) -> None:
    host, colon, port = address.rpartition(":")
    if not (colon and host and "/" not in host and port.isascii() and port.isdigit()):
        raise UserError(
            f"--ray-address {address} is not host:port: give the address that `ray start --head` "
            "printed, or auto on a node of the cluster"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_OPEN_S).close()
    except (OSError, OverflowError) as error:
        raise _no_answer(address, getattr(error, "strerror", None) or str(error)) from None


def _check_head(address: str) -> None:
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        done = subprocess.run(
            [*command, "--skip-version-check"], capture_output=True, timeout=_ANSWER_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise _no_answer(address, f"nothing that Ray knows in {_ANSWER_S:g} s") from None
    if done.returncode:
        raise _no_answer(address, "it is not healthy")


def _no_answer(address: str, why: str) -> UserError:
    return UserError(
        f"--ray-address {address}: no Ray cluster answers ({why}): start one with `ray start "
        "--head` and give the address that it prints, or leave --executor ray out"
    )
