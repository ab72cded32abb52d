"""Run a target on files: `python -m tests.fuzz.replay TARGET FILE...`.

Prints each as a line for the target's corpus, and lets out what is wrong with it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from .targets import TARGETS


def main() -> None:
    name, *files = sys.argv[1:]
    for file in files:
        data = Path(file).read_bytes()
        print(data)  # noqa: T201 - this is what it is for
        TARGETS[name](data)


if __name__ == "__main__":
    main()
