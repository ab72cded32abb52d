"""Fuzz one target with atheris: `python -m tests.fuzz.fuzz TARGET FOLDER SECONDS [RUNS]`.

`scripts/fuzz` calls this. With a number of runs, the same code gets the same inputs each time. In
the folder, `TARGET/found` grows from run to run, and what was wrong is in `TARGET/crashes`.
The exit code is not 0 when something was.

    python -m tests.fuzz.replay TARGET FILE     shows it, without atheris
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

# The generators of input too, so that the fuzzer learns what they make of its bytes; and paho,
# whose parser is in Python.
with atheris.instrument_imports(include=["petalkit", "tests.fuzz", "paho"]):
    from .targets import TARGETS, inputs

OPTIONS = (
    "-rss_limit_mb=1024",
    "-timeout=10",  # seconds for one input
    "-max_len=2048",
    "-len_control=0",  # in so short a time there is none for growing slowly
    "-close_fd_mask=2",  # where Rust prints its panics, and petalkit logs
    "-print_final_stats=1",
)


def main() -> None:
    name, folder, seconds, *runs = sys.argv[1:]
    seeds, found, crashes = (Path(folder, name, each) for each in ("seeds", "found", "crashes"))
    for path in (seeds, found, crashes):
        path.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(inputs(name)):
        seeds.joinpath(str(number)).write_bytes(data)
    arguments = [
        sys.argv[0],
        str(found),
        str(seeds),
        f"-max_total_time={seconds}",
        f"-artifact_prefix={crashes}/",
        *OPTIONS,
        *(f"-runs={number}" for number in runs),
        *(["-seed=1"] if runs else []),
    ]
    atheris.Setup(arguments, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
