"""A command that may have killed the process before is called when the next death would end it.

By the packet: a scripted broker at the other end of a stream in memory, on a mocked clock. What is
written gets stuck when a test says so; then no acknowledgement leaves.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mqtt5
import msgspec
import pytest
import trio

from petalkit import Runtime, Settings, command, open_runtime

from ...transports.mqtt5_bytes import QOS
from ...transports.scripted_peer import ACCEPTED, RESUMED, Network, Peer
from ..intake.test_second_deliveries import COMMAND, Broker, asks
from ..on_disk import Disk, after_crash
from ..recorder import Recorder, settle

pytestmark = pytest.mark.trio

URGENT_WAIT = 1.0  # seconds; the default of `urgent_redelivery_wait`


class Killer(Recorder):
    """A recorder with more kinds of commands."""

    @command("again", idempotent=True)
    async def again(self, n: int = 0) -> None:
        self.started.append(n)

    @command("renew", journal=False)
    async def renew(self, n: int = 0) -> None:
        self.started.append(n)


class Stuck:
    """What the device writes from now on gets stuck, until the test lets it go."""

    def __init__(self, broker: Broker) -> None:
        self.gate = trio.Event()
        broker.network.peer.on_write(self.gate.wait)

    async def let_go(self) -> None:
        self.gate.set()
        await settle()


class StuckBroker(Broker):
    """The same from the beginning of a link on: only CONNECT gets through."""

    def __init__(self, network: Network, runtime: Runtime, gate: trio.Event) -> None:
        super().__init__(network, runtime)
        self._gate = gate

    def get_stuck(self) -> None:
        """All links from now on."""
        self._gate = get_stuck(self.network)

    async def let_go(self) -> None:
        self._gate.set()
        await settle()


def get_stuck(network: Network) -> trio.Event:
    """Let nothing but CONNECT through on new links, until the event is set."""
    gate = trio.Event()

    def pair() -> tuple[trio.abc.Stream, trio.abc.Stream]:
        ours, theirs = trio.testing.memory_stream_pair()
        writes = 0

        async def write() -> None:
            nonlocal writes
            writes += 1
            if writes > 1:
                await gate.wait()

        Peer(ours, theirs, polite=False).on_write(write)
        return ours, theirs

    network.pair = pair
    return gate


@asynccontextmanager
async def serving(
    nursery: trio.Nursery,
    petal: Recorder,
    *greeting: mqtt5.Packet,
    stuck: bool = False,
    **settings: Any,
) -> AsyncGenerator[StuckBroker]:
    """Until it is connected; or, if what the device writes is `stuck`, until it waits for that."""
    network = Network(nursery)
    network.polite = True
    network.greet(*(greeting or (ACCEPTED,)))
    gate = get_stuck(network)
    if not stuck:
        gate.set()
    chosen = Settings(
        organization_id="acme",
        device_id="Instance-1",
        transport="native",
        journal_thread=False,
        journal_commit_delay=0.0,
        watchdog=0.0,
        **settings,
    )
    async with open_runtime([petal], chosen, transport=network.transport) as runtime:
        broker = StuckBroker(network, runtime, gate)
        await (settle() if stuck else broker.connected(1))
        yield broker


def anonymous(name: str, n: int) -> bytes:
    return msgspec.json.encode({"command": f"rec/{name}", "data": {"n": n}})


def delivery(payload: bytes, packet_id: int, *, dup: bool = False) -> mqtt5.PublishPacket:
    return mqtt5.PublishPacket(COMMAND, payload, qos=QOS[1], packet_id=packet_id, duplicate=dup)


# -- without a journal: its acknowledgement


@pytest.mark.parametrize("acknowledge", ["accepted", "handled"])
@pytest.mark.parametrize("name", ["note", "again", "renew", "stop"])
async def test_what_comes_again_is_called_when_its_acknowledgement_has_left(
    nursery: trio.Nursery, autojump_clock: object, name: str, acknowledge: str
) -> None:
    petal = Killer()
    async with serving(nursery, petal, acknowledge=acknowledge) as broker:
        stuck = Stuck(broker)
        await broker.deliver(asks(name, "m1", 1), 1, dup=True)
        assert petal.started == []
        await stuck.let_go()
        assert broker.acknowledged() == [(1, 0)]
        assert petal.started == (["stop 1"] if name == "stop" else [1])
        assert broker.outcomes("m1") == ["success"]


@pytest.mark.parametrize("name", ["note", "again", "renew", "stop"])
async def test_what_comes_for_the_first_time_waits_for_no_acknowledgement(
    nursery: trio.Nursery, autojump_clock: object, name: str
) -> None:
    petal = Killer()
    async with serving(nursery, petal) as broker:
        stuck = Stuck(broker)
        await broker.deliver(asks(name, "m1", 1), 1)
        assert petal.started == (["stop 1"] if name == "stop" else [1])
        await stuck.let_go()


async def test_what_is_behind_one_that_waits_starts_behind_it(
    nursery: trio.Nursery, autojump_clock: object
) -> None:
    petal = Killer()
    async with serving(nursery, petal) as broker:
        stuck = Stuck(broker)
        await broker.deliver(asks("note", "m1", 1), 1, dup=True)
        await broker.deliver(asks("note", "m2", 2), 2)
        await broker.deliver(asks("note", "m3", 3), 3, dup=True)
        await broker.deliver(asks("note", "m4", 4), 4)
        assert petal.started == []
        await stuck.let_go()
        assert petal.started == [1, 2, 3, 4]


async def test_an_urgent_command_that_comes_again_waits_no_longer_than_its_limit(
    nursery: trio.Nursery, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    petal = Killer()
    async with serving(nursery, petal) as broker:
        stuck = Stuck(broker)
        began = trio.current_time()
        await broker.deliver(asks("stop", "m1", 1), 1, dup=True)
        await trio.sleep(URGENT_WAIT - 0.01)
        assert petal.started == []
        await trio.sleep(0.02)
        assert petal.started == ["stop 1"]
        assert trio.current_time() - began < URGENT_WAIT + 0.1
        assert "urgent_redelivery_wait" in caplog.text
        await stuck.let_go()


async def test_no_command_waits_for_an_acknowledgement_for_ever(
    nursery: trio.Nursery, autojump_clock: object
) -> None:
    """One before it is handled for a day, with which it would not be acknowledged."""
    petal = Killer()
    limits = {"acknowledge": "handled", "publish_timeout": 30.0}
    async with serving(nursery, petal, **limits) as broker:
        await broker.deliver(asks("hold", "m1", 1), 1)
        await broker.deliver(asks("note", "m2", 2), 2, dup=True)
        await trio.sleep(29)
        assert petal.started == [1]
        await trio.sleep(2)
        assert petal.started == [1, 2]
        petal.open()


async def test_a_lost_link_is_waited_for_no_longer(
    nursery: trio.Nursery, autojump_clock: object
) -> None:
    petal = Killer()
    async with serving(nursery, petal) as broker:
        Stuck(broker)
        await broker.deliver(asks("note", "m1", 1), 1, dup=True)
        assert petal.started == []
        await broker.next_link()
        assert petal.started == [1]
        await broker.deliver(asks("note", "m1", 1), 1, dup=True)
        assert petal.started == [1]
        assert broker.outcomes("m1") == ["success", "success"]


async def test_a_command_that_waits_can_be_cancelled(
    nursery: trio.Nursery, autojump_clock: object
) -> None:
    """By a stop: it was never called, and says so."""
    petal = Killer()
    async with serving(nursery, petal, urgent_redelivery_wait=600.0, grace=1.0) as broker:
        stuck = Stuck(broker)
        await broker.deliver(asks("note", "m1", 1), 1, dup=True)
        await broker.deliver(asks("stop", "m2", 2), 2, dup=True)
        broker.runtime.stop()
        await trio.sleep(1.5)
        await stuck.let_go()
    assert petal.started == []
    assert broker.outcomes("m1") == broker.outcomes("m2") == ["CANCELLED"]


async def test_one_that_expires_while_it_waits_is_not_called(
    nursery: trio.Nursery, autojump_clock: object
) -> None:
    petal = Killer()
    async with serving(nursery, petal) as broker:
        stuck = Stuck(broker)
        for number, name in enumerate(("note", "stop"), 1):
            packet = mqtt5.PublishPacket(
                COMMAND,
                asks(name, f"m{number}"),
                qos=QOS[1],
                packet_id=number,
                duplicate=True,
                message_expiry_interval=1,
            )
            await broker.send(packet.write())
        await trio.sleep(2)
        await stuck.let_go()
        assert petal.started == []
        assert broker.outcomes("m1") == broker.outcomes("m2") == ["EXPIRED"]


# -- brokers that do not set DUP


@pytest.mark.parametrize("name", ["note", "stop"])
async def test_what_a_kept_session_delivers_first_may_have_come_before(
    nursery: trio.Nursery, autojump_clock: object, name: str
) -> None:
    """aedes sets no DUP on what it delivers again."""
    petal = Killer()
    greeting = RESUMED, delivery(asks(name, "m1", 1), 1)
    async with serving(nursery, petal, *greeting, stuck=True) as broker:
        assert petal.started == []
        await broker.let_go()
        await broker.connected(1)
        assert len(petal.started) == 1
        # What comes when it is subscribed, and has said so, is new.
        stuck = Stuck(broker)
        await broker.deliver(asks("note", "m2", 2), 2)
        assert petal.started[1:] == [2]
        await stuck.let_go()


async def test_what_a_new_session_delivers_first_has_not_come_before(
    nursery: trio.Nursery, autojump_clock: object
) -> None:
    petal = Killer()
    greeting = ACCEPTED, delivery(asks("note", "m1", 1), 1)
    async with serving(nursery, petal, *greeting, stuck=True) as broker:
        assert petal.started == [1]
        await broker.let_go()


async def test_what_a_later_link_of_a_process_delivers_first_has_not_killed_it(
    nursery: trio.Nursery, autojump_clock: object
) -> None:
    petal = Killer()
    async with serving(nursery, petal) as broker:
        broker.network.greet(RESUMED, delivery(asks("note", "m1", 1), 1))
        broker.get_stuck()
        await broker.network.peer.close()
        await trio.sleep(1)
        assert petal.started == [1]
        await broker.let_go()


# -- with a journal: its record


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def started_on_disk(disk: Disk) -> bool:
    return any("Started" in batch for batch in disk.kinds())


async def test_an_urgent_command_that_comes_again_is_called_when_its_start_is_on_disk(
    nursery: trio.Nursery, autojump_clock: object, tmp_path: Path, disk: Disk
) -> None:
    """Its acknowledgement need not leave: the next run knows it."""
    petal = Killer()
    async with serving(nursery, petal, journal=tmp_path / "journal") as broker:
        stuck = Stuck(broker)
        started: list[list[Any]] = []
        disk.before_write = lambda: started.append(list(petal.started))
        await broker.deliver(asks("stop", "m1", 1), 1, dup=True)
        assert started[0] == []
        assert started_on_disk(disk)
        assert petal.started == ["stop 1"]
        await stuck.let_go()


async def test_an_urgent_command_that_comes_for_the_first_time_does_not_wait_for_the_disk(
    nursery: trio.Nursery, autojump_clock: object, tmp_path: Path, disk: Disk
) -> None:
    petal = Killer()
    async with serving(nursery, petal, journal=tmp_path / "journal") as broker:
        started: list[list[Any]] = []
        disk.before_write = lambda: started.append(list(petal.started))
        await broker.deliver(asks("stop", "m1", 1), 1)
        assert started[0] == ["stop 1"]


async def test_an_urgent_command_that_comes_again_does_not_wait_for_a_disk_that_fails(
    nursery: trio.Nursery, autojump_clock: object, tmp_path: Path, disk: Disk
) -> None:
    """It is not recorded then, and is called when its acknowledgement has left."""
    petal = Killer()
    async with serving(nursery, petal, journal=tmp_path / "journal") as broker:
        stuck = Stuck(broker)
        disk.error = "the disk is full"
        await broker.deliver(asks("stop", "m1", 1), 1, dup=True)
        assert petal.started == []
        await stuck.let_go()
        assert broker.acknowledged() == [(1, 0)]
        assert petal.started == ["stop 1"]
        disk.error = None


@pytest.mark.parametrize("acknowledge", ["accepted", "handled"])
@pytest.mark.parametrize("name", ["note", "again"])
async def test_one_without_an_id_waits_for_both(
    nursery: trio.Nursery,
    autojump_clock: object,
    tmp_path: Path,
    disk: Disk,
    name: str,
    acknowledge: str,
) -> None:
    """No record protects it: a copy of it cannot be known."""
    petal = Killer()
    changes = {"journal": tmp_path / "journal", "acknowledge": acknowledge}
    async with serving(nursery, petal, **changes) as broker:
        stuck = Stuck(broker)
        await broker.deliver(anonymous(name, 1), 1, dup=True)
        assert started_on_disk(disk)
        assert petal.started == []
        await stuck.let_go()
        assert broker.acknowledged() == [(1, 0)]
        assert petal.started == [1]


async def test_what_is_not_recorded_waits_for_its_acknowledgement_with_a_journal_too(
    nursery: trio.Nursery, autojump_clock: object, tmp_path: Path, disk: Disk
) -> None:
    petal = Killer()
    async with serving(nursery, petal, journal=tmp_path / "journal") as broker:
        stuck = Stuck(broker)
        disk.error = "the disk is full"  # and while it does, it waits for no other
        await broker.deliver(asks("note", "m1", 1), 1)
        await broker.deliver(asks("renew", "m2", 2), 2, dup=True)
        assert petal.started == []
        await stuck.let_go()
        assert petal.started == [2]
        disk.error = None


async def test_a_command_of_an_earlier_run_starts_when_that_is_on_disk(
    nursery: trio.Nursery, autojump_clock: object, tmp_path: Path, disk: Disk
) -> None:
    """An idempotent one too: it may be what the earlier run died of, before that was written."""
    journal = tmp_path / "journal"
    petal = Killer()
    async with serving(nursery, petal, journal=journal, petal_concurrency=1) as broker:
        await broker.deliver(asks("hold", "m1", 1), 1)
        await broker.deliver(asks("again", "m2", 2), 2)
        assert petal.started == [1]
        crashed = after_crash(journal)
        petal.open()
    second = Killer()
    before: list[list[Any]] = []
    disk.batches.clear()
    disk.after_write = lambda: before.append(list(second.started))
    async with serving(nursery, second, journal=crashed):
        await settle()
    written = ["Started" in batch for batch in disk.kinds()].index(True)
    assert before[written] == []
    assert second.started == [2]
