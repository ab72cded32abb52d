"""A process that uses a journal, for tests that kill it or take the disk away from it.

It says what it has done, one word a line, on stdout.
"""

from __future__ import annotations

import os
import random
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from petalkit._serving.ledger.journal.operations import Operation, Settled
from petalkit._serving.ledger.journal.store import JournalStore
from petalkit._serving.ledger.records import JournalError

from .kit import MIB, accepted, done, finished, posted, started

STRIDE = 1000  # numbers of one batch


def commands_of(batch: int) -> list[int]:
    """The commands that a batch accepts: their number follows from its own, and is often large."""
    return list(range(batch * STRIDE + 1, batch * STRIDE + 1 + 1 + batch * 37 % 400))


def operations(batch: int) -> list[Operation]:
    """Accept some commands, finish and post those of the batch before, settle half of before."""
    before = commands_of(batch - 1) if batch > 1 else []
    long_before = commands_of(batch - 2) if batch > 2 else []
    made: list[Operation] = []
    for number in commands_of(batch):
        made += (accepted(number, payload=b"%d " % batch * 50), started(number))
    for number in before:
        made += (finished(number, response=b"%d" % batch), posted(number + STRIDE // 2, number))
    made += [Settled(number + STRIDE // 2, None) for number in long_before[::2]]
    random.Random(batch).shuffle(made)
    # Shuffled, but what is about one command or message in its order.
    order = {"Accepted": 0, "Started": 1, "Finished": 2, "Posted": 3, "Settled": 4}
    return sorted(made, key=lambda one: order[type(one).__name__])


def say(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def write(path: Path, first: str) -> None:
    """Write batches for ever."""
    store = JournalStore.open(path, device_id="d", size_max=512 * MIB)
    batch = int(first)
    while True:
        store.write(operations(batch))
        say(batch)
        batch += 1


def hold(path: Path) -> None:
    """Hold it until stdin ends."""
    store = JournalStore.open(path, device_id="d", size_max=MIB)
    say("held")
    sys.stdin.read()
    store.close()


def try_to_open(path: Path, user: str = "") -> None:
    """Open and write once, as another user, if one is given."""
    if user:
        os.setgid(int(user))
        os.setuid(int(user))
    try:
        store = JournalStore.open(path, device_id="d", size_max=MIB)
        store.write(done(1))
        store.close()
    except JournalError as error:
        say(error.reason)
    else:
        say("written")


def limited(path: Path) -> None:
    """Write until no file may grow, and go on when they may again."""
    store = JournalStore.open(path, device_id="d", size_max=64 * MIB)
    store.write(done(1))
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB // 2, hard))
    number = 3
    try:
        while True:
            store.write(done(number, payload=b"x" * 5000))
            number += 2
    except JournalError as error:
        say(error.reason)
    assert store.read(number) is None
    assert store.read(number - 2) is not None
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    store.write(done(number, payload=b"x" * 5000))
    assert store.read(number) is not None
    say(number)
    store.close()


MODES = {one.__name__: one for one in (write, hold, try_to_open, limited)}


def main(arguments: Sequence[str]) -> None:
    mode, path, *rest = arguments
    MODES[mode](Path(path), *rest)


if __name__ == "__main__":
    main(sys.argv[1:])
