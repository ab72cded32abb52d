"""Memory is bounded by the settings: what waits is bytes, and no buffer has more than its share."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from petalkit import Command, Petal, Settings, command
from petalkit._serving.dispatch.queue import DECODED_BYTES
from petalkit._serving.ledger.journal.batch import STATEMENT_BYTES, Batch
from petalkit._serving.ledger.journal.pruning import Owed
from petalkit._serving.ledger.journal.records import Accepted, Finished
from petalkit.testing import open_harness

from .recorder import settle, until

SLOTS = 16  # `petal_concurrency`


class Giver(Petal):
    """Answers at length, when it is let."""

    name = "giver"

    def __init__(self) -> None:
        self.gate = trio.Event()
        self.ran = 0

    @command("give")
    async def give(self, size: int) -> dict[str, str]:
        await self.gate.wait()
        self.ran += 1
        return {"given": "x" * size}

    @command("take")
    async def take(self, command: Command, values: list[dict[str, Any]]) -> dict[str, Any]:
        await self.gate.wait()
        assert command.extra == {"deviceId": "d"}
        return {"count": len(values)}

    @command("stop", urgent=True)
    async def stop(self) -> None:
        pass


@pytest.mark.trio
async def test_what_was_accepted_early_does_not_fill_the_outbox_beyond_its_bytes(
    autojump_clock: object,
) -> None:
    """Their places were free, and each of their answers is as long as a payload may be."""
    giver = Giver()
    bytes_max, size = 100_000, 4000
    async with open_harness(giver, settings=Settings(outbox_bytes=bytes_max)) as harness:
        with harness.responses() as responses:
            for _ in range(200):
                harness.send("giver/give", {"size": size})
            await settle()
            harness.broker.swallow("PUBACK", 1_000_000)
            giver.gate.set()
            await settle()
            # Those that ran are answered, and no more have begun since there were so many bytes.
            assert SLOTS <= giver.ran <= SLOTS + bytes_max / size + 1
            assert harness.statistics().outbox_bytes < bytes_max + SLOTS * (size + 200)
            with trio.fail_after(5):
                assert (await harness.call("giver/stop")).success
            harness.broker.swallow("PUBACK", 0)
            harness.broker.stop()
            harness.broker.start()
            await until(lambda: giver.ran == 200 and harness.statistics().outbox == 0)
            assert len({one["messageId"] for one in responses}) == 201


@pytest.mark.trio
async def test_commands_that_wait_are_bytes_and_run_with_all_that_they_brought(
    autojump_clock: object,
) -> None:
    """A list of empty objects takes 25 times its bytes when it is decoded."""
    giver = Giver()
    async with open_harness(giver) as harness:
        with harness.responses() as responses:
            for n in range(100):
                harness.send("giver/take", {"values": [{}] * (20_000 + n)}, deviceId="d")
            await settle()
            waiting = list(harness.runtime._dispatcher.backlog)
            decoded = [one for one in waiting if one.command.data]
            assert len(waiting) == 100 - SLOTS
            assert sum(len(one.payload) for one in decoded) <= DECODED_BYTES + 70_000
            giver.gate.set()
            await responses.wait(100)
            assert sorted(one["count"] for one in responses) == list(range(20_000, 20_100))


def _accepted(number: int, payload: bytes) -> Accepted:
    who = "t", "acme", "Instance-1", "org/acme/device/Instance-1"
    return Accepted(number, f"m-{number}", "p/c", payload, *who, True, None, None, 0.0)


def test_a_statement_binds_few_bytes_or_one_row() -> None:
    """Python's sqlite3 keeps what was bound last to each statement that it keeps."""
    operations: list[Any] = []
    for number in range(1, 400):
        size = 120_000 if number % 5 == 0 else 3_000
        operations.append(_accepted(number, b"x" * size))
        operations.append(Finished(number, None, b"y" * size, True, 1.0))
    batch = Batch(operations, 0, Owed())
    rows: set[int] = set()
    for sql, parameters in batch.statements():
        if sql.startswith("INSERT"):
            blobs = [one for one in parameters if type(one) is bytearray]
            distinct = {id(one): len(one) for one in blobs}
            assert len(distinct) == 1 or sum(distinct.values()) <= STATEMENT_BYTES
            rows |= set(distinct)
    assert len(rows) == 2 * 399  # and none is missing
