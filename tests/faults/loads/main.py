"""`scripts/load`: lets a device with its defaults bear each load, and prints one table.

Exits with 1 if a bound is broken: an urgent stop that starts more than 50 ms after its bytes were
read, or not at all; more than 1.25 times the sum of all bounds over idle; what was delivered and
neither answered nor told; and what each story adds. From the time of a stop is taken off what the
process was ready and had no processor.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import trio

from .device import TRANSPORTS
from .report import summary, table
from .row import Row
from .stage import open_stage
from .stories import BY_NAME, STORIES, Story, check_flood, check_once
from .wire import open_wire

STORY_LIMIT = 400.0  # seconds for one story, whatever happens


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/load", description=__doc__)
    add = parser.add_argument
    add("--only", metavar="NAME", action="append", choices=[*BY_NAME], help="of the stories below")
    add("--transport", choices=[*TRANSPORTS, "each"], default="each")
    add("--seconds", type=float, default=0.0, help="go on with further seeds until they are over")
    add("--seed", type=int, default=1, help="of the first round")
    add("--long", action="store_true", help="stories that take minutes take minutes")
    add("--report", type=Path, help="write the table there too")
    add("--keep", type=Path, help="keep the files of broken stories in this folder")
    parser.epilog = "stories: " + ", ".join(BY_NAME)
    return parser.parse_args(given)


async def play(story: Story, row: Row, folder: Path, *, short: bool) -> None:
    """One story on one transport."""
    with trio.fail_after(STORY_LIMIT):
        async with open_stage(
            folder, row, options=story.options, queued=story.queued, line=story.line,
            proxied=story.proxied, log=story.log,
        ) as stage:  # fmt: skip
            stage.short = short
            async with open_wire(stage.broker.port, "caller") as wire:
                await stage.warm_up(wire)
                async with trio.open_nursery() as nursery:
                    stage.begin(nursery, wire, story.victim, story.topic)
                    await story.load(stage)
                    nursery.cancel_scope.cancel()
                await stage.end(wire)
            check_once(stage)
            check_flood(stage)
            row.judge(all_answered=stage.all_answered, or_counted=stage.or_counted)


def run_one(story: Story, transport: str, seed: int, options: argparse.Namespace) -> Row:
    """The same, in a folder of its own, which is left only where somebody wants it."""
    row = Row(story=story.name, transport=transport, seed=seed)
    folder = Path(tempfile.mkdtemp(prefix=f"load-{story.name}-"))
    try:
        trio.run(functools.partial(play, story, row, folder, short=not options.long))
    except Exception as error:
        row.broken.append(f"the story failed: {error!r}")
    if row.broken and options.keep is not None:
        kept = options.keep / f"{story.name}-{transport}-{seed}"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(folder, kept)
    shutil.rmtree(folder)
    return row


def plan(options: argparse.Namespace) -> Iterator[tuple[Story, str, int]]:
    """One round, and further ones in another order until the time is over."""
    ends = time.monotonic() + options.seconds
    stories = [story for story in STORIES if options.only is None or story.name in options.only]
    transports = TRANSPORTS if options.transport == "each" else (options.transport,)
    for seed in itertools.count(options.seed):
        order = list(itertools.product(stories, transports))
        if seed > options.seed:
            random.Random(seed).shuffle(order)
        for story, transport in order:
            if seed > options.seed and time.monotonic() >= ends:
                return
            yield story, transport, seed
        if time.monotonic() >= ends:
            return


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(given: Sequence[str]) -> int:
    options = arguments(given)
    # So that SIGTERM ends broker and device too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rows: list[Row] = []
    for story, transport, seed in plan(options):
        row = run_one(story, transport, seed, options)
        rows.append(row)
        say(summary(row))
        if options.report is not None:
            options.report.write_text(table(rows))
    say("")
    say(table(rows))
    broken = sum(bool(row.broken) for row in rows)
    say(f"{len(rows)} stories, {broken} with a bound that is broken.")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
