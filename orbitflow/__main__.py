"""``python -m orbitflow``, and where the `orbitflow` command begins.

Ctrl-C is one line also while the command line is still being imported. A stream that was closed is
opened on nothing: else the next file that is opened would get its number, and what is printed.
"""

import os
import sys


def main() -> None:
    """Import the command line and hand over to it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115
    try:
        from orbitflow.cli import main as command
    except KeyboardInterrupt:
        print("orbitflow: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    command()


if __name__ == "__main__":
    main()
