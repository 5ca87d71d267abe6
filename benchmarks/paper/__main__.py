"""The paper's evaluation again: `scripts/paper [--quick]`, its numbers beside ours.

Workloads are drawn by the paper's recipe (`--trace paper` of `orbitflow sim` is one of them), the
machines are its published fits. Every run is judged twice: as the paper counts late tokens, and
fairly. Interrupted, the same command with --out goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.paper.experiments import FULL, QUICK
from benchmarks.paper.run import run
from orbitflow.cli.progress import usable_cpus
from orbitflow.errors import OrbitFlowError, UserError

_INTERRUPTED = 130


def paper(words: Sequence[str]) -> int:
    """Run the command. Give its exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/paper", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a minute instead of ten: fewer seeds, requests and points",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="folder of the study; one that exists is continued (default: studies/paper-<n>)",
    )
    parser.add_argument(
        "--workers", type=int, help="simulations at a time (default: as many as there are CPUs)"
    )
    parser.add_argument("--json", action="store_true", help="print only the results, as JSON")
    parser.add_argument("--quiet", "-q", action="store_true", help="print only the tables")
    given = parser.parse_args(words)
    try:
        if given.workers is not None and given.workers < 1:
            raise UserError(f"--workers {given.workers} must be at least 1")
        failed = run(
            QUICK if given.quick else FULL,
            given.out,
            workers=given.workers or usable_cpus(),
            as_json=given.json,
            quiet=given.quiet,
        )
    except KeyboardInterrupt:
        print("paper: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except (OrbitFlowError, OSError) as error:
        print(f"paper: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(paper(sys.argv[1:]))
