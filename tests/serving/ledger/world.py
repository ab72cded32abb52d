"""A device in its world: what can happen to it, as values, and a run of them that is watched.

The broker is the in-process one, the clock jumps, and the journal is a real file. A crash takes a
copy of that file, cuts the cable, and lets the next process begin with the copy: whatever the old
one does after that instant reaches nobody.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import math
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import attrs
import msgspec
import pytest
import trio
import trio.testing

from petalkit import Command, CommandError, Petal, Properties, Settings, command, open_runtime
from petalkit._serving.runtime import Runtime
from petalkit._values.errors import ConnectFailed
from petalkit.testing._harness import EPOCH
from petalkit.transports.memory import MemoryBroker, MemoryTransport

from ..on_disk import Disk, after_crash
from . import promises
from .promises import KINDS, History, Life, Row

DEVICE_ID = "Instance-1"
ORGANIZATIONS = ("acme", "beta")
IDLE_WITHIN = 6000.0  # seconds on the mocked clock, in which everything is long over
STORY_WITHIN = 50_000.0

# -- what can happen


@attrs.frozen
class Send:
    """A new command is sent."""

    kind: str
    petal: str = "a"
    wait: bool = True
    expires: float | None = None
    by: Literal["expiresAt", "property"] = "expiresAt"


@attrs.frozen
class Copy:
    """A copy of the command number `of` is sent: the same words, or other data."""

    of: int
    wait: bool = True
    variant: int = 0


@attrs.frozen
class Release:
    """What is held by the command number `of` may end."""

    of: int


@attrs.frozen
class Steps:
    """The event loop takes a few steps."""

    count: int


@attrs.frozen
class Settle:
    """Everything happens that can happen now."""


@attrs.frozen
class Pass:
    """Time passes."""

    seconds: float


@attrs.frozen
class Crash:
    """The process dies: now, or just before or after its next writes to the journal."""

    when: Literal["now", "before a write", "after a write"] = "now"
    write: int = 1
    down: float = 1.0


@attrs.frozen
class Restart:
    """It is told to stop, and starts again when it has."""


@attrs.frozen
class DiskFails:
    pass


@attrs.frozen
class DiskMended:
    pass


@attrs.frozen
class LinkLost:
    pass


@attrs.frozen
class SessionLost:
    """The broker forgets everything."""


@attrs.frozen
class Swallow:
    """The broker loses packets of a kind."""

    packet: Literal["PUBACK", "client PUBACK", "SUBACK", "CONNACK"]
    times: int = 1


@attrs.frozen
class Twice:
    """The broker delivers the next message twice."""


@attrs.frozen
class Refused:
    """The broker takes no connection, so many times."""

    times: int = 1


@attrs.frozen
class Move:
    """The device belongs to the other organization from now on."""


Operation: TypeAlias = (
    Send
    | Copy
    | Release
    | Steps
    | Settle
    | Pass
    | Crash
    | Restart
    | DiskFails
    | DiskMended
    | LinkLost
    | SessionLost
    | Swallow
    | Twice
    | Refused
    | Move
)


@attrs.frozen(kw_only=True)
class Scene:
    """How the device is set, and its broker.

    Attributes:
        order: of the tasks that are ready at the same time, which Trio shuffles.
    """

    capacity: int = 1000
    reserve: int = 32
    petal_concurrency: int = 16
    backlog: int = 1000
    acknowledge: Literal["accepted", "handled"] = "accepted"
    overflow: Literal["wait", "reject", "drop-oldest"] = "wait"
    protocol: Literal["3.1.1", "5"] = "3.1.1"
    window: int = 20
    delay: float = 0.0
    grace: float = 2.0
    publish_maximum: int = 100
    order: int = 0

    def settings(self, path: Path, **others: Any) -> Settings:
        return Settings(
            journal=path,
            device_id=DEVICE_ID,
            channel_capacity=self.capacity,
            channel_reserve=self.reserve,
            petal_concurrency=self.petal_concurrency,
            journal_backlog=self.backlog,
            acknowledge=self.acknowledge,
            overflow=self.overflow,
            petal_overflow_wait=math.inf,  # else `wait` may refuse, and when is tested elsewhere
            protocol=self.protocol,
            grace=self.grace,
            publish_maximum=self.publish_maximum,
            response_expiry=1_000_000.0,
            # These look at the real clock, or wait for a thread that does.
            watchdog=0.0,
            journal_thread=False,
            journal_commit_delay=0.0,
            **others,
        )


# -- the device


class Process:
    """One life of the device: a runtime, its petals, its cable and its file."""

    def __init__(self, life: Life, path: Path, world: World) -> None:
        self.life = life
        self.path = path
        self.world = world
        self.dead = False
        self.left: Path | None = None  # the journal as the crash has left it
        self.runtime: Runtime | None = None
        self.scope = trio.CancelScope()
        self.over = trio.Event()


class Cable:
    """Between one process and the broker. Nothing passes when the process is dead."""

    def __init__(self, process: Process, broker: MemoryBroker) -> None:
        self._process = process
        self._broker = broker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    def _connect(self, *args: Any) -> Any:
        if self._process.dead:
            raise ConnectFailed("this process is dead")
        return self._broker._connect(*args)

    def _receive_publish(self, message: Any, protocol: Any) -> tuple[int, bool]:
        if self._process.dead:
            return 0, False
        if message.topic.endswith("/response"):
            self._process.world.saw_answer(message.payload)
        return self._broker._receive_publish(message, protocol)

    def _receive_acks(self, connection: Any, packet_ids: list[int]) -> None:
        if self._process.dead:
            return
        for packet_id in packet_ids:
            packet = connection.session.inflight.get(packet_id)
            if packet is not None:
                self._process.world.saw_acknowledgement(packet.publication.payload)
        self._broker._receive_acks(connection, packet_ids)


class Actor(Petal):
    """Does what the kinds of `promises.KINDS` say, in sight of the world."""

    version = "1.0.0"

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self._process = process

    async def _act(self, request: Command) -> dict[str, Any]:
        process = self._process
        if process.dead:
            await trio.sleep_forever()
        message_id, variant = str(request.message_id), request.data["variant"]
        kind = KINDS[request.command.partition("/")[2]]
        run = process.world.saw_start(message_id, variant)
        done = False
        try:
            if kind.held:
                await process.world.gates[message_id].wait()
                if process.dead:
                    await trio.sleep_forever()
            done = True
        finally:
            if not process.dead:
                process.world.saw_end(message_id, run, done)
        words = {"run": run, "variant": variant}
        if kind.fails:
            raise CommandError("NO", "it does not want to", details=words)
        return words

    @command("quick")
    async def quick(self, request: Command) -> Any:
        return await self._act(request)

    @command("hold", timeout=math.inf)
    async def hold(self, request: Command) -> Any:
        return await self._act(request)

    @command("brief", timeout=5.0)
    async def brief(self, request: Command) -> Any:
        return await self._act(request)

    @command("fail")
    async def fail(self, request: Command) -> Any:
        return await self._act(request)

    @command("again", timeout=math.inf, idempotent=True)
    async def again(self, request: Command) -> Any:
        return await self._act(request)

    @command("alone", timeout=math.inf, exclusive="motor")
    async def alone(self, request: Command) -> Any:
        return await self._act(request)

    @command("one", timeout=math.inf, concurrency=1)
    async def one(self, request: Command) -> Any:
        return await self._act(request)

    @command("stop", urgent=True)
    async def stop(self, request: Command) -> Any:
        return await self._act(request)

    @command("land", timeout=math.inf, urgent=True)
    async def land(self, request: Command) -> Any:
        return await self._act(request)

    @command("free", journal=False)
    async def free(self, request: Command) -> Any:
        return await self._act(request)

    @command("watch", timeout=math.inf, journal=False)
    async def watch(self, request: Command) -> Any:
        return await self._act(request)


# -- the world


class World:
    """Everything around the device, and the history of it.

    Args:
        scene: how it is set.
        path: of the first journal.
        disk: under all of them.
        nursery: processes live in it.
    """

    def __init__(self, scene: Scene, path: Path, disk: Disk, nursery: trio.Nursery) -> None:
        self.scene = scene
        self.disk = disk
        self.broker = MemoryBroker(window=scene.window)
        self.broker.delay = scene.delay
        self.history = History(overflow=scene.overflow)
        self.organization = ORGANIZATIONS[0]
        self.gates: defaultdict[str, trio.Event] = defaultdict(trio.Event)
        self.sent: list[promises.Sent] = []  # the first copy of each
        self._by_serial: list[promises.Sent] = []
        self._envelopes: list[dict[str, Any]] = []
        self._runs = 0
        self._nursery = nursery
        self._crash: Crash | None = None  # when something is written
        self._writes_left = 0
        self._down = 0.0
        self._swallowed = False
        self._ending = False
        disk.before_write = lambda: self._written("before a write")
        disk.after_write = lambda: self._written("after a write")
        self.process = self._new_process(path)
        nursery.start_soon(self._keep_up)

    # -- what is seen

    def _see(self, event: type[Any], *fields: Any) -> None:
        self.history.events.append(event(trio.current_time(), self.process.life, *fields))

    def saw_start(self, message_id: str, variant: int) -> int:
        self._runs += 1
        self._see(promises.Started, message_id, variant, self._runs)
        return self._runs

    def saw_end(self, message_id: str, run: int, done: bool) -> None:
        self._see(promises.Ended, message_id, run, done)

    def saw_answer(self, payload: bytes) -> None:
        fields = msgspec.json.decode(payload)
        self._see(promises.Answered, fields["messageId"], payload, fields)

    def saw_acknowledgement(self, payload: bytes) -> None:
        self._see(promises.Acknowledged, self._by_serial[msgspec.json.decode(payload)["serial"]])

    # -- the life of the device

    def _new_process(self, path: Path) -> Process:
        life = Life(len(self.history.lives), disk_failed=self.disk.error is not None)
        self.history.lives.append(life)
        return Process(life, path, self)

    async def _keep_up(self) -> None:
        """Start process after process, as an init system does."""
        while True:
            process = self.process
            self._nursery.start_soon(self._live, process)
            await process.over.wait()
            if self._ending:
                return
            if process.left is not None:
                await trio.sleep(self._down)
            self.process = self._new_process(process.left or process.path)

    async def _live(self, process: Process) -> None:
        cable = cast(MemoryBroker, Cable(process, self.broker))
        with process.scope:
            async with open_runtime(
                [Actor("a", process), Actor("b", process)],
                self.scene.settings(process.path, organization_source=lambda: self.organization),
                transport=MemoryTransport(cable, self.scene.protocol),
                now=lambda: EPOCH.timestamp() + trio.current_time(),
                jitter=lambda: 1.0,
            ) as runtime:
                process.runtime = runtime
                await runtime.wait_stopped()
        if not process.dead:
            self._end(process)

    def _end(self, process: Process) -> None:
        life, runtime = process.life, process.runtime
        life.over = True
        if runtime is not None:
            now = runtime.statistics()
            life.unsent = now.publish_unsent
            life.given_up = now.publish_set_aside + now.publish_expired + now.publish_rejected
            life.forgot = process.dead or now.journal_failing
        self._see(promises.Over)
        process.over.set()

    def crash(self, down: float) -> None:
        """The process dies in this instant."""
        process = self.process
        if process.over.is_set():
            return
        self._crash = None
        process.left = after_crash(process.path)
        process.dead = True
        self._down = down
        self.broker.drop_links()
        self._end(process)
        process.scope.cancel()

    def _written(self, when: str) -> None:
        if self._crash is not None and self._crash.when == when:
            self._writes_left -= 1
            if not self._writes_left:
                self.crash(self._crash.down)

    def stop(self) -> None:
        """It is told to stop."""
        process = self.process
        if process.runtime is not None and not process.over.is_set():
            process.life.stopping = True
            self._see(promises.Stopping)
            process.runtime.stop()

    # -- what happens

    async def begin(self) -> None:
        """Wait until commands can be sent."""
        while self.process.runtime is None:
            await trio.lowlevel.checkpoint()
        await self.process.runtime.wait_connected()

    async def do(self, operation: Operation) -> None:
        """Let one thing happen."""
        match operation:
            case Send():
                self._send(operation)
            case Copy(of, wait, variant):
                if self.sent:
                    self._copy(self.sent[of % len(self.sent)], wait, variant)
            case Release(of):
                if self.sent:
                    self.gates[self.sent[of % len(self.sent)].message_id].set()
            case Steps(count):
                for _ in range(count):
                    await trio.lowlevel.checkpoint()
            case Settle():
                await trio.testing.wait_all_tasks_blocked()
            case Pass(seconds):
                await trio.sleep(seconds)
            case Crash("now", down=down):
                self.crash(down)
            case Crash(write=write):
                self._crash, self._writes_left = operation, write
            case Restart():
                self.stop()
            case DiskFails():
                self.disk.error = "the disk is full"
                self.process.life.disk_failed = True
                self._see(promises.DiskFailed)
            case DiskMended():
                self.disk.error = None
            case LinkLost():
                self.broker.drop_links()
            case SessionLost():
                self.broker.stop(keep_sessions=False)
                self.broker.start()
            case Swallow(packet, times):
                self._swallowed = True
                self.broker.swallow(packet, times)
            case Twice():
                self.broker.duplicate_next()
            case Refused(times):
                self.broker.refuse_connections(times)
            case Move():
                await self._move()

    async def _move(self) -> None:
        first, second = ORGANIZATIONS
        self.organization = second if self.organization == first else first
        self.process.life.moved = True
        self._see(promises.Moved)
        if self.process.runtime is not None:
            await self.process.runtime.ask_identity()

    def _send(self, it: Send) -> None:
        now = trio.current_time()
        name = f"m{len(self.sent)}"
        envelope: dict[str, Any] = {
            "command": f"{it.petal}/{it.kind}",
            "messageId": name,
            "data": {"variant": 0},
        }
        by_property = it.by == "property"
        expires_at = math.inf
        properties = None
        if it.expires is not None and not (by_property and self.scene.protocol == "3.1.1"):
            expires_at = now + it.expires
            if by_property:
                properties = Properties(message_expiry=math.ceil(it.expires))
            else:
                moment = EPOCH + dt.timedelta(seconds=expires_at)
                envelope["expiresAt"] = moment.isoformat()
        self._envelopes.append(envelope)
        self._publish(
            envelope, it.wait, 0, expires_at=expires_at, by_property=by_property, more=properties
        )

    def _copy(self, first: promises.Sent, wait: bool, variant: int) -> None:
        envelope = self._envelopes[self.sent.index(first)]
        expires_at = math.inf if first.expires_by_property else first.expires_at
        self._publish(envelope, wait, variant, expires_at=expires_at)

    def _publish(
        self,
        envelope: dict[str, Any],
        wait: bool,
        variant: int,
        *,
        expires_at: float,
        by_property: bool = False,
        more: Properties | None = None,
    ) -> None:
        serial = len(self._by_serial)
        petal, _, kind = envelope["command"].partition("/")
        message_id = envelope["messageId"]
        fields = {
            **envelope,
            "waitResponse": wait,
            "serial": serial,
            "data": {"variant": variant},
        }
        self._see(
            promises.Sent,
            serial,
            message_id,
            petal,
            kind,
            variant,
            wait,
            self.organization,
            expires_at,
            by_property,
        )
        sent = self.history.events[-1]
        assert isinstance(sent, promises.Sent)
        self._by_serial.append(sent)
        if len(self._envelopes) > len(self.sent):
            self.sent.append(sent)
        topic = f"org/{self.organization}/device/{DEVICE_ID}/command"
        self.broker.publish_nowait(topic, msgspec.json.encode(fields), properties=more)

    # -- the end of the story

    async def finish(self) -> Path:
        """Let everything end that was begun, once more after a last restart; the journal."""
        self._crash = None
        self.disk.error = None
        for packet in ("PUBACK", "client PUBACK", "SUBACK", "CONNACK"):
            self.broker.swallow(packet, 0)
        self.broker.accept_connections()
        for sent in self.sent:
            self.gates[sent.message_id].set()
        if self._swallowed:
            self.broker.drop_links()  # it comes again
        await self._idle()
        process = self.process
        self.stop()
        await process.over.wait()
        await self._idle()
        self._ending = True
        process = self.process
        self.stop()
        await process.over.wait()
        return process.path

    async def _idle(self) -> None:
        """Wait until there is nothing left to do, and look that nothing is left over."""
        with trio.move_on_after(IDLE_WITHIN) as scope:
            quiet = 0
            while quiet < 2:  # once it may only look so, while something is being written
                quiet = quiet + 1 if self._is_idle() else 0
                await trio.sleep(10.0)
        runtime = self.process.runtime
        promises.require(not scope.cancelled_caught and runtime, "everything ends", self._now())
        assert runtime is not None
        now, outbox = runtime.statistics(), runtime._outbox
        promises.require(
            (outbox.places.taken, outbox.size) == (0, 0) and not outbox.places.owed_to,
            "P6 no place is kept",
            outbox.places.taken,
        )
        # P5: all that was accepted has been counted.
        begun = now.accepted + now.restored + now.interrupted
        ended = now.succeeded + sum(now.failed.values())
        promises.require(begun == ended, "P5 everything is counted", now)
        promises.require(not runtime._ledger.window._live, "nothing is live", runtime._ledger)

    def _is_idle(self) -> bool:
        runtime = self.process.runtime
        if runtime is None or self.process.over.is_set():
            return False
        now, identity = runtime.statistics(), runtime.identity
        session = self.broker.sessions.get(f"petalkit-{self.organization}-{DEVICE_ID}")
        return (
            now.connected
            and identity is not None
            and identity.organization_id == self.organization
            and runtime.serving == identity
            and session is not None
            and session.queued == session.unacknowledged == 0
            and not now.journal_failing
            and not (now.waiting or now.waiting_on_disk or now.held or now.running or now.outbox)
        )

    def _now(self) -> object:
        runtime = self.process.runtime
        return (runtime and runtime.statistics(), self.broker.sessions)


def run(operations: Sequence[Operation], scene: Scene | None = None) -> History:
    """Let all of it happen, then let everything end, and hold what was seen against the promises.

    Raises:
        BrokenPromiseError: one is broken.
    """
    scene = scene or Scene()

    async def main() -> tuple[History, Path]:
        with trio.fail_after(STORY_WITHIN):
            async with trio.open_nursery() as nursery:
                world = World(scene, Path(directory) / "device.journal", disk, nursery)
                await world.begin()
                for operation in operations:
                    await world.do(operation)
                path = await world.finish()
        return world.history, path

    with (
        tempfile.TemporaryDirectory() as directory,
        pytest.MonkeyPatch.context() as patch,
        _bugs() as bugs,
    ):
        disk = Disk(patch)
        trio._core._run._r.seed(scene.order)
        history, path = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
        promises.require(not bugs.found, "no bug", *bugs.found)
        promises.check(history)
        promises.check_journal(history, *read_journal(path))
        return history


def read_journal(path: Path) -> tuple[list[Row], int]:
    """What the journal says at the end: its commands, and how many messages it owes."""
    with contextlib.closing(sqlite3.connect(path)) as file:
        rows = file.execute(
            "SELECT c.number, c.message_id, c.starts, r.number IS NOT NULL, r.code, r.response,"
            " coalesce(r.remembered, 0) FROM commands c LEFT JOIN results r USING (number)"
        ).fetchall()
        ((owed,),) = file.execute("SELECT count(*) FROM outbox").fetchall()
    names = [field.name for field in attrs.fields(Row)]
    return [Row(**dict(zip(names, row, strict=True))) for row in rows], owed


class _Bugs(logging.Handler):
    """What the log calls our bug: an exception that was caught, for others not to pay for it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found.append(logging.Formatter().format(record))


@contextlib.contextmanager
def _bugs() -> Iterator[_Bugs]:
    """Look for bugs in the log, and keep the rest of it, of which there is much, from pytest."""
    logger, bugs = logging.getLogger("petalkit"), _Bugs()
    level = logger.level
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    logger.addHandler(bugs)
    try:
        yield bugs
    finally:
        logger.removeHandler(bugs)
        logger.propagate = True
        logger.setLevel(level)
