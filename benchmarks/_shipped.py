"""The petal of the benchmarks as a user runs it: `petalkit run`, of this or of another build.

Run as a program it is served over a broker until SIGTERM. Its log goes to a file, as a service's
goes somewhere: to write it is part of what it costs.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--transport", default="native")
    parser.add_argument("--journal", default="off", help="a file")
    parser.add_argument("--log-level", default="info")
    parser.add_argument("--log", default=os.devnull, help="the file that the log is written to")
    parser.add_argument("--src", help="a folder with another build's `petalkit`")
    arguments = parser.parse_args()
    if arguments.src is not None:
        sys.path.insert(0, arguments.src)
    os.dup2(os.open(arguments.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)

    import petalkit
    from petalkit.cli import main as petalkit_main

    if arguments.src is not None and Path(arguments.src) not in Path(petalkit.__file__).parents:
        raise SystemExit(f"no petalkit in {arguments.src}")
    here = Path(__file__).resolve().parent
    sys.argv = [
        "petalkit",
        "run",
        f"{here / '_petal.py'}:BenchPetal",
        *("--broker", f"mqtt://127.0.0.1:{arguments.port}"),
        *("--organization-id", "bench"),
        *("--device-id", arguments.device),
        *("--transport", arguments.transport),
        *("--journal", arguments.journal),
        *("--log-level", arguments.log_level),
        *("--grace", "1"),
    ]
    sys.exit(petalkit_main())


if __name__ == "__main__":
    main()
