"""A broker, a device with its defaults, an urgent stop every so often, and those who count."""

from __future__ import annotations

import itertools
import random
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import msgspec
import trio

from petalkit import Settings

from ...brokers import Mosquitto
from ..device import BASE
from ..faults import Line
from ..proxy import FaultProxy
from .bounds import sum_of_bounds
from .device import LoadedDevice
from .row import Row, percentile, read_probes
from .wire import Wire, open_wire

START_LIMIT = 30.0  # seconds for the device to be online
WARM_UP = 50  # commands before anything counts
STOP_EVERY = 0.3  # seconds between two urgent stops
VICTIM_EVERY = 0.05  # seconds between two commands of the victim
SETTLE = 6.0  # seconds without an answer after which what is missing is lost
SETTLE_LIMIT = 60.0  # seconds for all of it
END_LIMIT = 30.0  # seconds for the device to end by itself
COMMAND, EDGE = f"{BASE}/command", f"{BASE}/command/edge"

_MESSAGE_ID = re.compile(rb'"messageId":"([^"]+)"')
_CODE = re.compile(rb'"error_code":"([^"]+)"')
# Counters of what is lost, or may be.
_LOSSES = (
    "unanswered", "acks_unsent", "publish_expired", "publish_set_aside", "publish_rejected",
    "sessions_lost", "links_lost", "malformed",
)  # fmt: skip
_encode = msgspec.json.Encoder().encode


def command(name: str, message_id: str, data: dict[str, Any] | None = None) -> bytes:
    """The bytes of a command that wants an answer."""
    envelope = {"command": name, "messageId": message_id, "waitResponse": True, "data": data or {}}
    return _encode(envelope)


@attrs.define
class Seen:
    """All that is published by the device, as far as it is an answer."""

    answers: dict[str, tuple[float, str]] = attrs.field(factory=dict)  # by messageId
    twice: int = 0
    online: trio.Event = attrs.field(factory=trio.Event)
    statistics: dict[str, Any] | None = None
    dropped: int = 0
    last: float = 0.0

    def on_message(self, topic: str, payload: bytes) -> None:
        """For the observer."""
        if topic.startswith("$SYS"):
            self.dropped = int(payload)
        elif topic.endswith("/status"):
            if b'"online"' in payload:
                self.online.set()
        else:
            self._on_answer(payload, usual=topic.endswith("/response"))

    def _on_answer(self, payload: bytes, *, usual: bool) -> None:
        found = _MESSAGE_ID.search(payload)
        if found is None:
            return
        message_id = found[1].decode()
        now = trio.current_time()
        if message_id.startswith("c-"):
            self.last = now
        code = _CODE.search(payload)
        if message_id in self.answers:
            # The other may be on a Response Topic, or it was sent twice.
            self.twice += usual and not message_id.startswith("stop-both")
        else:
            self.answers[message_id] = (now, code[1].decode() if code else "")
        if message_id.startswith("statistics-") and code is None:
            self.statistics = msgspec.json.decode(payload)["statistics"]


@attrs.define
class Calls:
    """What one sender has sent, and when."""

    name: str
    sent: dict[str, float] = attrs.field(factory=dict)

    def round_trips(self, seen: Seen, since: float, until: float) -> list[float]:
        """Of those that were sent in that time; of what has no answer, until now."""
        now = trio.current_time()
        return [
            seen.answers.get(message_id, (now, ""))[0] - at
            for message_id, at in self.sent.items()
            if since <= at <= until
        ]


class Stage:
    """See the module. Made by `open_stage`.

    Attributes:
        wire: for the load.
        seen: what was answered.
        row: what is shown.
        chance: of this run.
        short: whether it is to take seconds rather than minutes.
    """

    def __init__(
        self, broker: Mosquitto, device: LoadedDevice, proxy: FaultProxy | None, row: Row
    ) -> None:
        self.broker = broker
        self.device = device
        self.proxy = proxy
        self.row = row
        self.seen = Seen()
        self.chance = random.Random(f"{row.story} {row.transport} {row.seed}")
        self.short = True
        self.v5 = row.transport == "native"
        self.wire: Wire
        self.stops = Calls("stop")
        self.both = Calls("stop-both")  # each at QoS 0 and 1, with one messageId
        self.victims = Calls("victim")
        self.load: dict[str, float] = {}
        self.all_answered = True  # whether that is to be waited for, and judged
        self.or_counted = False  # a counter and a WARNING are enough instead
        self.code: int | None = None
        self.ended_in = 0.0
        self._numbers = itertools.count(1)
        self._quiet: tuple[float, float] = (0.0, 0.0)
        self._busy: tuple[float, float] = (0.0, 0.0)
        self._idle, self._cpu = 0, 0.0

    # -- what stories do

    def commands(
        self, name: str, count: int, data: dict[str, Any] | None = None, topic: str = COMMAND
    ) -> Iterable[tuple[str, bytes]]:
        """So many of one kind, for `Wire.flood`."""
        for _ in range(count):
            message_id = self.noted()
            yield topic, command(name, message_id, data)

    def noted(self) -> str:
        """The messageId of one more command of the load."""
        message_id = f"c-{self.row.seed}-{next(self._numbers)}"
        self.load[message_id] = trio.current_time()
        return message_id

    async def quiet(self, seconds: float) -> None:
        """Let the victim show how long it takes without a load."""
        since = trio.current_time()
        await trio.sleep(seconds)
        self._quiet = since, trio.current_time()

    async def settle(self, limit: float = SETTLE_LIMIT) -> None:
        """Wait until everything is answered, or nothing is for a while."""
        began = trio.current_time()
        while trio.current_time() < began + limit:
            if self.load.keys() <= self.seen.answers.keys():
                return
            if trio.current_time() - max(began, self.seen.last) > SETTLE:
                return
            await trio.sleep(0.1)

    async def ask(self, wire: Wire, name: str, message_id: str, limit: float = 10.0) -> bool:
        """Send one command, and wait for its answer."""
        await wire.send(wire.publish(COMMAND, command(name, message_id)))
        with trio.move_on_after(limit):
            while message_id not in self.seen.answers:
                await trio.sleep(0.01)
            return True
        return False

    def seen_codes(self) -> Counter[str]:
        """What the load was answered with so far: error codes, and nothing for a success."""
        answers = self.seen.answers
        return Counter(answers[one][1] for one in self.load if one in answers)

    # -- what always goes on

    async def _send(
        self,
        wire: Wire,
        calls: Calls,
        name: str,
        every: float,
        topic: str,
        qualities: Sequence[int] = (1,),
    ) -> None:
        # With a prefix that the probes look for, and one that is new with each run.
        for number in itertools.count(1):
            message_id = f"{calls.name}-{self.row.seed}-{number}"
            payload = command(name, message_id)
            data = b"".join(wire.publish(topic, payload, qos) for qos in qualities)
            calls.sent[message_id] = trio.current_time()
            await wire.send(data)
            await trio.sleep(every * self.chance.uniform(0.5, 1.5))

    async def warm_up(self, wire: Wire) -> None:
        """Let it have done everything once, so that what is idle is known."""
        with trio.fail_after(START_LIMIT):
            await self.seen.online.wait()
        for number in range(WARM_UP):
            assert await self.ask(wire, "fast/echo", f"warm-{number}"), self.device.log
        assert await self.ask(wire, "guard/stop", "stop-warm-up")
        await trio.sleep(0.5)
        self._idle, self._cpu = self.device.memory(), self.device.cpu()
        self.device.forget_peak()

    def begin(self, nursery: trio.Nursery, wire: Wire, victim: str, topic: str) -> None:
        """Send stops, and what the victim sends."""
        nursery.start_soon(self._send, wire, self.stops, "guard/stop", STOP_EVERY, COMMAND)
        nursery.start_soon(self._send, wire, self.both, "guard/stop", STOP_EVERY, COMMAND, (0, 1))
        nursery.start_soon(self._send, wire, self.victims, victim, VICTIM_EVERY, topic)
        self._busy = trio.current_time(), 0.0

    def busy(self) -> None:
        """From now on there is a load."""
        self._busy = trio.current_time(), 0.0

    async def end(self, wire: Wire) -> None:
        """See what has become of everything, and let the device end."""
        row, seen, device = self.row, self.seen, self.device
        ends = trio.current_time()
        since = self._busy[0]
        # What was under way: the last ones have their time to be answered.
        await trio.sleep(1.0)
        row.over_idle = max(0, device.peak() - self._idle)
        await self.ask(wire, "petalkit/statistics", f"statistics-{row.seed}", 5.0)
        row.quiet = self.victims.round_trips(seen, *self._quiet)
        row.victim = self.victims.round_trips(seen, since, ends)
        row.sent = len(self.load)
        answered = [seen.answers[one] for one in self.load if one in seen.answers]
        row.answered = len(answered)
        row.refused = dict(Counter(code for _, code in answered if code))
        if answered:
            took = max(at for at, _ in answered) - min(self.load.values(), default=0.0)
            row.rate = len(answered) / max(took, 0.001)
        row.dropped = seen.dropped
        if seen.twice:
            row.notes.append(f"{seen.twice} answers came twice")
        if seen.statistics is None:
            row.notes.append("no statistics")
        else:
            found = {name: seen.statistics.get(name, 0) for name in _LOSSES}
            row.counters = {name: value for name, value in found.items() if value}
            received = seen.statistics["received"]
            spent = 1e6 * (device.cpu() - self._cpu) / max(1, received - WARM_UP)
            row.notes.append(f"received {received}, {spent:.0f} us of CPU each")
            if paused := seen.statistics["paused_seconds"]:
                row.notes.append(f"reading paused for {paused:.1f} s")
        row.told = " WARNING " in device.log
        row.seconds = ends - since
        await self._stop()
        probes, not_started, self.once = read_probes(device.probes)
        mine = {name: one for name, one in probes.items() if name in self.stops.sent}
        row.stops = len(self.stops.sent)
        row.stop_started = [one.took for one in mine.values()]
        row.stop_round_trips = [
            seen.answers[name][0] - at
            for name, at in self.stops.sent.items()
            if name in seen.answers
        ]
        lost = self.both.sent.keys() - probes.keys()
        if row.stops > len(mine) or lost:
            text = f"of {len(self.both.sent)} stops sent at QoS 0 and 1, {len(lost)} not started"
            row.notes.append(text)
        row.stops_unread = row.stops - len(mine) - len(not_started)
        refused = [name for name in self.stops.sent if seen.answers.get(name, (0, ""))[1]]
        row.stops_not_run = len(set(not_started) | {one for one in refused if one in probes})

    async def _stop(self) -> None:
        began = time.monotonic()
        self.device.ask_to_stop()
        with trio.move_on_after(END_LIMIT):
            self.code = await self.device.wait()
        self.ended_in = time.monotonic() - began
        if self.code is None:
            self.row.broken.append(f"it did not end within {END_LIMIT:g} s of SIGTERM")
        elif self.code != 0:
            self.row.broken.append(f"it ended with {self.code}")


@asynccontextmanager
async def open_stage(
    folder: Path,
    row: Row,
    *,
    options: Iterable[str] = (),
    queued: int = 1000,
    line: Line | None = None,
    proxied: bool = False,
    log: str = "file",
) -> AsyncGenerator[Stage]:
    """Start broker and device; both are ended with the block, by their own handles.

    Args:
        folder: for their files.
        row: of the story.
        options: of the device.
        queued: `max_queued_messages` of the broker; mosquitto's own default is 1000.
        line: between them, if it is slow.
        proxied: whether there is a proxy between them in any case.
        log: see `LoadedDevice`.
    """
    broker = Mosquitto(
        folder / "broker", max_queued_messages=queued,
        options={"sys_interval": 1, "log_type": "warning"},
    )  # fmt: skip
    with broker:
        async with trio.open_nursery() as nursery:
            url, proxy = broker.url, None
            if line is not None or proxied:
                proxy = FaultProxy(broker.port, seed=row.seed, line=line)
                await nursery.start(proxy.run)
                url = proxy.url
            given = ["--transport", row.transport, *options]
            device = LoadedDevice(folder, url, given, log="pipe" if log == "pipe" else "file")
            stage = Stage(broker, device, proxy, row)
            settings = Settings(
                transport=row.transport, journal=None if "off" in given else folder / "journal"
            )
            row.bound = sum_of_bounds(settings)
            try:
                await device.start()
                async with (
                    open_wire(broker.port, "observer", stage.seen.on_message) as observer,
                    open_wire(broker.port, "load") as stage.wire,
                ):
                    await observer.subscribe(
                        f"{BASE}/response", f"{BASE}/status", "reply/#",
                        "$SYS/broker/publish/messages/dropped",
                    )  # fmt: skip
                    yield stage
            finally:
                with trio.CancelScope(shield=True):
                    await device.close()
            nursery.cancel_scope.cancel()


__all__ = ["COMMAND", "EDGE", "Stage", "command", "open_stage", "percentile"]
