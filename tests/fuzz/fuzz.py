"""Fuzz one target with atheris: `python -m tests.fuzz.fuzz TARGET [arguments of libFuzzer]`.

`scripts/fuzz` calls this; the folders among the arguments are its own business.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["petalkit", "tests.fuzz"]):
    from .targets import TARGETS


def main() -> None:
    name, *arguments = sys.argv[1:]
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
