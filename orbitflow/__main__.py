"""``python -m orbitflow``, and where the `orbitflow` command begins.

Ctrl-C is one line also while the command line is still being imported.
"""

import sys


def main() -> None:
    """Import the command line and hand over to it."""
    try:
        from orbitflow.cli import main as command
    except KeyboardInterrupt:
        print("orbitflow: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    command()


if __name__ == "__main__":
    main()
