"""Publishing by POST: several at once, each of another topic, and in order within a topic.

The rules:

* A message keeps its place at the head of its topic until it is accepted, or until HTTP says that
  it never will be. A sidecar that is away, or has no broker, is asked again and again; the link
  lives as long as its health is good, and the supervisor ends it when nothing at all is accepted
  for `publish_timeout`.
* One that is answered no again and again, while others are accepted, is at fault itself (`fault`):
  it is refused, so that what waits behind it leaves. So whenever a message is accepted, those that
  wait for their next try are tried at once; and one that waits behind a head that needs a
  comparison is tried past it. A sidecar without a broker takes neither.
* A topic that waits for its next try occupies no lane.

So a restart of the sidecar costs no message anything. Each has a request of its own and an answer
of its own: what is under way when a link is lost has not brought it down.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable

import attrs
import trio

from ...._values.errors import ConnectionLost, RejectedByBroker, TransportError
from ...._values.messages import Message
from ..._contract import OnDone
from .._answers import NotTaken, SidecarError
from .connection import PostConnection
from .fault import TRIES, FaultRule, Tries
from .requests import PublishRequests

logger = logging.getLogger("petalkit.transport")

RETRY_MIN = 0.1  # seconds; doubles
RETRY_MAX = 5.0
_UNSPECIFIED = 0x80  # MQTT 5.0, section 2.4


@attrs.frozen
class PublishBounds:
    """How much at once, and how long.

    Attributes:
        lanes: requests at once.
        maximum: messages that are here at once.
        payload_max: bytes; a larger message is refused.
        request_timeout: seconds for one answer.
        give_up_after: see `FaultRule`.
    """

    lanes: int
    maximum: int
    payload_max: int
    request_timeout: float
    give_up_after: float


@attrs.define(eq=False)
class _Waiting:
    """A message, and what is known of its tries."""

    message: Message
    on_done: OnDone
    told: bool = False  # whether a failed try was logged
    tries: Tries = attrs.field(factory=Tries)


@attrs.define(eq=False)
class _Line:
    """What waits for one topic. Only the lane that sends its first message takes from it."""

    topic: str
    waiting: deque[_Waiting] = attrs.field(factory=deque)
    delay: float = RETRY_MIN  # seconds until the next try
    next_past: int = 1  # the place of the one that is tried past the first next
    hurry: trio.Event | None = None  # while it waits for its next try, and may be woken
    hurried: bool = False  # whether its last try came of that


class Publisher:
    """See the module; `run` is its one task.

    Args:
        connect: makes a connection; called once per lane at most.
        bounds: how much at once, and how long.
        callback_url: see `PublishRequests`.
        on_broken: the same.
    """

    def __init__(
        self,
        connect: Callable[[], PostConnection],
        bounds: PublishBounds,
        callback_url: str,
        on_broken: Callable[[], object],
    ) -> None:
        self._connect = connect
        self._lanes = bounds.lanes
        self._maximum = bounds.maximum
        self._rule = FaultRule(bounds.give_up_after)
        self._requests = PublishRequests(
            bounds.payload_max, bounds.request_timeout, callback_url, on_broken
        )
        # So that there are enough tries in that time.
        self._delay_max = max(RETRY_MIN, min(RETRY_MAX, self._rule.span / TRIES))
        self._lines: dict[str, _Line] = {}
        self._ready: deque[_Line] = deque()  # with messages that may be sent, and that no lane is
        self._parked: list[_Line] = []  # that wait for their next try, and may be woken
        self._nursery: trio.Nursery | None = None
        self._idle: list[PostConnection] = []
        self._count = 0
        self._sleepers = trio.lowlevel.ParkingLot()
        self._publishers = trio.lowlevel.ParkingLot()
        self._empty = trio.Event()
        self._empty.set()
        self._accepted = 0  # messages, ever
        self._accepted_at = -math.inf  # the last of them, on Trio's clock

    def __len__(self) -> int:
        return self._count

    @property
    def has_room(self) -> bool:
        """Whether `put` may be called."""
        return self._count < self._maximum

    def put(self, message: Message, on_done: OnDone) -> None:
        """Put a message last in its topic's line; there must be room."""
        self._count += 1
        if self._count == 1:
            self._empty = trio.Event()
        line = self._lines.get(message.topic)
        if line is None:
            line = self._lines[message.topic] = _Line(message.topic)
            self._ready.append(line)
            self._sleepers.unpark()
        line.waiting.append(_Waiting(message, on_done))

    async def wait_room(self) -> None:
        """Wait until something has changed. Has no limit: the link's end wakes it too."""
        await self._publishers.park()

    async def wait_empty(self) -> None:
        """Wait until everything has its outcome. Has to be bounded by the caller."""
        await self._empty.wait()

    def fail_all(self, error: Callable[[], ConnectionLost]) -> None:
        """The link is gone: tell everybody who waits."""
        lines, self._lines = self._lines, {}
        self._ready.clear()
        self._count = 0
        self._empty.set()
        self._publishers.unpark_all()
        for line in lines.values():
            for one in line.waiting:
                one.on_done(error())

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for number in range(self._lanes):
                    nursery.start_soon(self._lane, name=f"petalkit sidecar publisher {number}")
        finally:
            for connection in self._idle:
                await connection.aclose()

    async def _lane(self) -> None:
        while True:
            while not self._ready:
                await self._sleepers.park()
            # The one that was used last, so that no more are open than are needed.
            connection = self._idle.pop() if self._idle else self._connect()
            try:
                await self._send_first(connection, self._ready.popleft())
            finally:
                self._idle.append(connection)

    async def _send_first(self, connection: PostConnection, line: _Line) -> None:
        """Try the first of a topic's line; until it has its outcome it stays there."""
        first = line.waiting[0]
        began, before = trio.current_time(), self._accepted
        problem = await self._try(connection, first)
        if self._is_gone(line):
            return
        if isinstance(problem, NotTaken):
            if self._rule.is_at_fault(first.tries, began, before, self._accepted):
                text = f"it takes other messages, and not this one: {problem}"
                problem = RejectedByBroker(_UNSPECIFIED, text)
            elif (
                self._rule.needs_comparison(first.tries, self._accepted_at)
                and len(line.waiting) > 1
            ):
                await self._try_past(connection, line)
                if self._is_gone(line):
                    return
        if isinstance(problem, SidecarError):
            if not first.told:
                first.told = True
                logger.warning(
                    "the sidecar has not taken a message for %r, which is sent again: %s",
                    line.topic,
                    problem,
                )
            self._park(line)
            return
        line.delay, line.next_past = RETRY_MIN, 1
        del line.waiting[0]
        if line.waiting:
            self._make_ready(line)
        else:
            del self._lines[line.topic]
        self._settle(first, problem)

    def _is_gone(self, line: _Line) -> bool:
        """Whether the link was lost in the same step, and everybody has been told."""
        return self._lines.get(line.topic) is not line

    async def _try_past(self, connection: PostConnection, line: _Line) -> None:
        """Try one that waits behind the first, each time another: it may be at fault as well."""
        place = line.next_past if line.next_past < len(line.waiting) else 1
        line.next_past = place + 1
        one = line.waiting[place]
        problem = await self._try(connection, one)
        if self._is_gone(line):
            return
        if isinstance(problem, SidecarError):
            line.waiting[0].tries.count = 0  # it may be an outage: what came before it says nothing
            return
        del line.waiting[place]  # still there: what came meanwhile stands behind it
        line.next_past = place
        line.delay = RETRY_MIN  # the sidecar may have come back just now
        self._settle(one, problem)

    def _park(self, line: _Line) -> None:
        """Have a line come back after a while; its lane is free for others."""
        if not line.hurried:  # else others that are busy would have it tried without a pause
            line.hurry = trio.Event()
            self._parked.append(line)
        line.hurried = False
        if self._nursery is not None:
            self._nursery.start_soon(self._come_back, line, line.delay)
        line.delay = min(2 * line.delay, self._delay_max)

    async def _come_back(self, line: _Line, delay: float) -> None:
        with trio.move_on_after(delay):
            if line.hurry is None:
                await trio.sleep_forever()
            else:
                await line.hurry.wait()
        if line.hurry is not None:
            line.hurried = line.hurry.is_set()
            line.hurry = None
            if not line.hurried:
                self._parked.remove(line)
        if not self._is_gone(line):
            self._ready.append(line)
            self._sleepers.unpark()

    def _make_ready(self, line: _Line) -> None:
        """Called by a lane, which takes one itself next: others are needed for more only."""
        self._ready.append(line)
        if len(self._ready) > 1:
            self._sleepers.unpark()

    def _settle(self, one: _Waiting, outcome: TransportError | None) -> None:
        """Tell the outcome of a message that is in no line any more."""
        self._count -= 1
        if not self._count:
            self._empty.set()
        self._publishers.unpark_all()
        one.on_done(outcome)

    async def _try(
        self, connection: PostConnection, one: _Waiting
    ) -> SidecarError | RejectedByBroker | None:
        """Send a message once; None when it was accepted, else why not."""
        try:
            await self._requests.send(connection, one.message)
        except RejectedByBroker as error:
            await trio.lowlevel.checkpoint()
            return error
        except SidecarError as error:
            return error
        self._accepted += 1
        self._accepted_at = trio.current_time()
        if self._parked:
            parked, self._parked = self._parked, []
            for line in parked:
                if line.hurry is not None:
                    line.hurry.set()
        return None
