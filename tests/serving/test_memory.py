"""Memory is bounded by the settings: what waits is bytes, and no buffer has more than its share."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

import petalkit
from petalkit import Command, MemoryBound, Petal, Settings, command, memory_bounds
from petalkit._serving import memory
from petalkit._serving.dispatch.execution import DECODED_BYTES
from petalkit._serving.ledger.journal.folding.batch import Batch
from petalkit._serving.ledger.journal.folding.statements import STATEMENT_BYTES
from petalkit._serving.ledger.journal.forgetting.owed import Owed
from petalkit._serving.ledger.journal.operations import Finished
from petalkit._serving.ledger.records import Accepted
from petalkit._serving.process.log_stream import KEPT_MAX
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
    batch = Batch(0, Owed())
    batch.add(operations)
    rows: set[int] = set()
    for sql, parameters in batch.statements():
        if sql.startswith("INSERT"):
            blobs = [one for one in parameters if type(one) is bytearray]
            distinct = {id(one): len(one) for one in blobs}
            assert len(distinct) == 1 or sum(distinct.values()) <= STATEMENT_BYTES
            rows |= set(distinct)
    assert len(rows) == 2 * 399  # and none is missing


# -- the sum

FEW = "one for each petal, command, group, topic, setting, sort of failure or link"
SAME = "what another buffer has, known by another key or in another order"
OWN = "its number has a bound where it stands, and so have its bytes"
# What grows: the bound that it is in, or why it is in none.
BUFFERS = {
    "_serving.dispatch.execution.PetalState.starting": "running",
    "_serving.dispatch.overdue.Overdue._told": SAME,
    "_serving.dispatch.queueing.queue.Backlog._lines": FEW,
    "_serving.dispatch.queueing.queue.Backlog._receive": "waiting to start",
    "_serving.dispatch.queueing.queue.Backlog._send": "of these, decoded",
    "_serving.dispatch.queueing.queue.Backlog._set_aside": FEW,
    "_serving.dispatch.queueing.queue.Backlog.groups": FEW,
    "_serving.dispatch.redelivered.SafeUrgent._waiting": "running",
    "_serving.dispatch.scheduler.Scheduler._ready": "running",
    "_serving.dispatch.queueing.readiness.Readiness._held_until": FEW,
    "_serving.dispatch.slots.Slots._running": "running",
    "_serving.dispatch.slots.Slots.beside": FEW,
    "_serving.fair_queue.FairQueue._queues": SAME,
    "_serving.intake.unexpected_topics.UnexpectedTopics._without_dots": FEW,
    "_serving.intake.backlog.in_ledger.LedgerBacklog._unwritten": "to be written to the journal",
    "_serving.intake.backlog.in_ledger.LedgerBacklog._wanted":
        "read from the journal, to be taken up",
    "_serving.intake.backlog.in_ledger.LedgerBacklog._wishes":
        "read from the journal, to be taken up",
    "_serving.intake.backlog.lanes.Lanes._gone": SAME,
    "_serving.intake.backlog.lanes.Lanes._lanes": FEW,
    "_serving.intake.backlog.lanes.Lanes._later": SAME,
    "_serving.intake.backlog.lanes._Lane.chosen": SAME,
    "_serving.intake.backlog.lanes._Lane.records": "read from the journal, to be taken up",
    "_serving.intake.backlog.taking_up.TakingUp._ended": OWN,
    "_serving.intake.parked.ParkedLines._by_id": SAME,
    "_serving.intake.parked.ParkedLines._lines": "read, and held unacknowledged",
    "_serving.intake.parked.ParkedLines.gone": FEW,
    "_serving.intake.parking.Parking._held": FEW,
    "_serving.intake.parking._Held.marks": FEW,
    "_serving.jobs.kind.JobKind._ended": "jobs",
    "_serving.jobs.kind.JobKind.running": "jobs",
    "_serving.jobs.kind.JobKind.waiting": OWN,
    "_serving.jobs.leases.Leases._held": "jobs",
    "_serving.jobs.notes.Notes._sizes": SAME,
    "_serving.jobs.recovery.JobRecovery._interrupted": "jobs",
    "_serving.jobs.recovery.JobRecovery._unstartable": "jobs",
    "_serving.jobs.notes.JobNote.data": "jobs",
    "_serving.jobs.notes.Notes._of_readers": SAME,
    "_serving.jobs.reading.turns.Subscription.turns": "readers of jobs and streams",
    "_serving.jobs.reading.subscriptions.Subscriptions._of": "readers of jobs and streams",
    "_serving.jobs.reading.turns.Turns._heap": SAME,
    "_serving.ledger.disk.DiskLedger._unwritten": "to be written to the journal",
    "_serving.ledger.remembered.duplicate_window.DuplicateWindow._finished":
        "finished, and remembered",
    "_serving.ledger.remembered.duplicate_window.DuplicateWindow._live": SAME,
    **dict.fromkeys(
        (
            f"_serving.ledger.journal.folding.batch.Batch.{name}"
            for name in ("accepted", "finished", "forgotten", "noted", "outcomes", "posted",
                         "settled", "started", "unnoted", "wanted")
        ),
        "in the journal's log, and not in its database",
    ),
    "_serving.ledger.journal.log.layers.Layers.all": FEW,
    "_serving.ledger.journal.reader.JournalReader._unfolded": FEW,
    "_serving.ledger.journal.forgetting.owed.OwedLater._added": "to be written to the journal",
    "_serving.ledger.journal.forgetting.owed.OwedLater._steps": "to be written to the journal",
    "_serving.ledger.journal.forgetting.pruning.FinishedCommands._emptied": SAME,
    "_serving.ledger.journal.forgetting.pruning.FinishedCommands._others":
        "IDs of commands in the journal",
    "_serving.ledger.journal.forgetting.pruning.FinishedCommands._remembered":
        "IDs of commands in the journal",
    "_serving.ledger.journal.forgetting.owed.Owed._answers": SAME,
    "_serving.ledger.journal.forgetting.owed.Owed._count": SAME,
    "_serving.ledger.journal.writing.group_commit.GroupCommit._left":
        "to be written to the journal",
    "_serving.ledger.journal.writing.group_commit.GroupCommit._queue":
        "to be written to the journal",
    "_serving.ledger.journal.writing.group_commit.GroupCommit._taken_back":
        "to be written to the journal",
    "_serving.ledger.journal.writing.group_commit.GroupCommit._then":
        "to be written to the journal",
    "_serving.ledger.journal.writing.known.KnownCommands._numbers":
        "IDs of commands in the journal",
    "_serving.ledger.journal.writing.writer.Writer._jobs": FEW,
    "_serving.ledger.records.Found.notes": SAME,
    "_serving.ledger.recent_refusals.RecentRefusals.messages": "refused, and remembered",
    "_serving.ledger.recent_refusals.RecentRefusals.waiting": SAME,
    "_serving.ledger.remembered.replay_window.ReplayWindow._newest": "IDs within the replay window",
    "_serving.ledger.remembered.replay_window.ReplayWindow._older": "IDs within the replay window",
    "_serving.ledger.remembered.replay_window.ReplayWindow._oldest": "IDs within the replay window",
    "_serving.ledger.remembered.replay_window.SpareForFew._used": FEW,
    "_serving.ledger.remembered.replay_window.ReplayWindow._urgent": "IDs within the replay window",
    "_serving.line_limit.LineLimit._kinds": FEW,
    "_serving.links.connack.ConnackReport._said": FEW,
    "_serving.links.topics.Topics._others": OWN,
    "_serving.petals.added_commands.AddedCommands._left_over": FEW,
    "_serving.loggers.command_lines.CommandLines._same": FEW,
    "_serving.process.log_lines.LineFormatter._commands": FEW,
    "_serving.process.log_lines.LineFormatter._ids": FEW,
    "_serving.process.log_stream.LineWriter._gathered": FEW,
    "_serving.process.log_stream.LineWriter._kept": "lines of the log",
    "_serving.process.signals._Watch._previous": FEW,
    "_serving.sending.contents.Contents.queue": "the outbox",
    "_serving.sending.held_refusals.HeldRefusals._line": "answers to what was refused",
    "_serving.sending.state.deferred.Deferred._heap": "the outbox",
    "_serving.sending.state.deferred.Deferred._rounds": FEW,
    "_serving.sending.state.in_flight.InFlight._entries": "the outbox",
    "_serving.sending.state.latest.LatestEvents.asking": FEW,
    "_serving.sending.state.latest.LatestEvents.newest": SAME,
    "_serving.sending.state.places.Places.owed_to": SAME,
    "_serving.sending.state.stale.StaleEvents._unsaid": FEW,
    "_serving.sending.state.suspects.Suspects._line": "the outbox",
    "transports._base_link.BaseLink._broker_limits": FEW,
    "transports._connecting.kept_sessions.KeptSessions._kept": OWN,
    "transports._connecting.kept_sessions.KeptSessions._newest": OWN,
    "transports._connecting.websocket.WebSocketStream._incoming": "a packet that is not whole",
    "transports._delivery.AckWindow._awaited": SAME,
    "transports._delivery.AckWindow._leaving": SAME,
    "transports._delivery.AckWindow._pending": "deliveries whose acknowledgement waits",
    "transports._receiving.inbox.Inbox.deliveries": "read, and not judged",
    "transports._receiving.receiving.Receiving._aliases": "a packet that is not whole",
    "transports._receiving.receiving.Receiving._owed": SAME,
    "transports._receiving.receiving.Receiving._received": "deliveries whose acknowledgement waits",
    "transports._receiving.receiving.Receiving._unreleased": SAME,
    "transports.asyncio_mqtt._client.HardenedClient._on_message_callbacks": FEW,
    "transports.asyncio_mqtt._client.HardenedClient._pending_publishes": FEW,
    "transports.asyncio_mqtt._client.HardenedClient._pending_subscribes": FEW,
    "transports.asyncio_mqtt._client.HardenedClient._pending_unsubscribes": FEW,
    "transports.asyncio_mqtt._outgoing.Outgoing._messages": "written, and not sent",
    "transports.asyncio_mqtt._outgoing.Outgoing._unacked": SAME,
    "transports.asyncio_mqtt._wire.Wire.outgoing": "written, and not sent",
    "transports.native._encoding.Encoder._property_arguments": FEW,
    "transports.native._framing.PacketReader._rest": "a packet that is not whole",
    "transports.native._link.NativeLink._questions": FEW,
    "transports.native._outgoing.Outgoing._soon": OWN,
    "transports.native._publishing.Publishing._asked": FEW,
    "transports.native._publishing.Publishing._carried": SAME,
    "transports.native._publishing.Publishing._carried_ids": SAME,
    "transports.native._publishing.Publishing._in_flight": SAME,
    "transports.native._questions.Questions._expected": FEW,
    "transports.native._session.ClientSession.outgoing": "written, and not sent",
    "transports.native._session.ClientSession.broker_limits": FEW,
    "transports.sidecar._callback.app.CallbackApp._warned": FEW,
    "transports.sidecar._callback.app.CallbackApp.refused": FEW,
    "transports.sidecar._callback.bodies.Bodies._since": FEW,
    "transports.sidecar._callback.server.CallbackServer.idle": SAME,
    "transports.sidecar._health.Health._subscriptions": FEW,
    "transports.sidecar._offers.Offers._waiting": "messages of the sidecar",
    "transports.sidecar._publishing.publisher.Publisher._idle": SAME,
    "transports.sidecar._publishing.publisher.Publisher._lines": "publishes to the sidecar",
    "transports.sidecar._publishing.publisher.Publisher._parked": SAME,
    "transports.sidecar._publishing.publisher.Publisher._ready": SAME,
    "transports.sidecar._publishing.publisher._Line.waiting": SAME,
    "compat._http.connection._Applications._inboxes": FEW,
    "compat._http.crossing.Lane._calls": FEW,
    "compat._http.health.Health.served": FEW,
    "compat._http.health.Health.states": FEW,
    "compat._http.inbox.Inbox._events": "requests to petals of the guide",
    "compat._http.requests.Requests._refused": FEW,
    "compat._http.requests.Requests._warned": FEW,
    "compat._http.server.Server._connections": FEW,
    "compat._http.server.Server._leaving": FEW,
    "compat._http.service.HttpService._lanes": FEW,
    "compat._http.service.HttpService._pages": FEW,
}  # fmt: skip
GROWS = {
    "Counter", "OrderedDict", "Queue", "SimpleQueue", "bytearray", "defaultdict", "deque", "dict",
    "list", "open_memory_channel", "set",
}  # fmt: skip
PACKAGE = Path(petalkit.__file__).parent
EVERY = [
    Settings(journal=Path("j.db")),
    Settings(transport="sidecar", compat_http="127.0.0.1:9000"),
]


def _grows(value: ast.expr) -> bool:
    """Whether what is assigned is an empty container."""
    if isinstance(value, ast.Dict):
        return not value.keys
    if isinstance(value, ast.List):
        return not value.elts
    if not isinstance(value, ast.Call):
        return False
    called: ast.expr = value.func
    for given in value.keywords:
        if given.arg == "factory":  # attrs'
            called = given.value
    if isinstance(called, ast.Subscript):
        called = called.value
    return ast.unparse(called).rpartition(".")[2] in GROWS


def _buffers() -> Iterator[str]:
    """Every attribute of the code that is made as an empty container, in what serves and links."""
    for room in ("_serving", "transports", "compat/_http"):
        for file in (PACKAGE / room).rglob("*.py"):
            name = ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
            # A broker, for tests and by itself: see its own bounds.
            if name.startswith(("transports.memory.", "transports._broker.")):
                continue
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.ClassDef):
                    yield from (f"{name}.{node.name}.{one}" for one in _attributes(node))


def _attributes(owner: ast.ClassDef) -> Iterator[str]:
    for node in ast.walk(owner):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value and _grows(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for one in target.elts if isinstance(target, ast.Tuple) else [target]:
                    if isinstance(one, ast.Attribute) and ast.unparse(one.value) == "self":
                        yield one.attr
                    elif isinstance(one, ast.Name) and node in owner.body:
                        yield one.id


def test_the_docs_say_the_sums_that_the_code_has(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    found = re.search(r"(\d+) MiB with the defaults and a journal, (\d+) MiB without", page)
    assert found is not None
    sums = [
        round(sum(one.size for one in memory_bounds(settings)) / 2**20)
        for settings in (Settings(journal=tmp_path / "journal"), Settings())
    ]
    assert [int(one) for one in found.groups()] == sums


def test_every_buffer_of_the_code_is_in_the_sum_or_needs_no_bound() -> None:
    found = set(_buffers())
    new, gone = found - BUFFERS.keys(), BUFFERS.keys() - found
    assert not new, "say which bound they are in, and put them into _serving/memory.py"
    assert not gone


def test_what_the_sum_names_is_what_the_buffers_are_in() -> None:
    named = {bound.buffer for settings in EVERY for bound in memory_bounds(settings)}
    assert set(BUFFERS.values()) - {FEW, SAME, OWN} == named - {"SQLite"}


@pytest.mark.parametrize(
    ("settings", "bound"),
    [(settings, bound) for settings in EVERY for bound in memory_bounds(settings)],
    ids=lambda value: value.buffer if isinstance(value, MemoryBound) else value.transport,
)
def test_a_bound_follows_the_settings_that_it_names_and_no_others(
    settings: Settings, bound: MemoryBound
) -> None:
    def size(**changes: int) -> int:
        evolved = memory_bounds(attrs.evolve(settings, **changes))
        return next(one.size for one in evolved if one.buffer == bound.buffer)

    for name in {name for one in memory_bounds(settings) for name in one.settings}:
        larger = size(**{name: 16 * getattr(settings, name)}) > bound.size
        assert larger is (name in bound.settings), name


def test_the_sum_is_what_statistics_say() -> None:
    settings = Settings(payload_max=1024)
    assert memory.memory_bound(settings) == sum(one.size for one in memory_bounds(settings))
    assert memory.LOG_BYTES == 2 * KEPT_MAX


@pytest.mark.trio
async def test_the_sum_of_its_settings_is_in_the_statistics(autojump_clock: object) -> None:
    async with open_harness(Giver()) as harness:
        assert harness.statistics().memory_bound == memory.memory_bound(harness.runtime.settings)
