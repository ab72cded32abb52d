"""What is in the outbox, wherever it stands, and how a message comes in and leaves it for good.

    queue       to be sent, in this order
    in_flight   sent on this link
    deferred    the broker takes it later
    suspects    it may be why links die

The rule: whatever takes a message out tells, in one step, whoever waits for its place, and the
journal.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections import deque
from collections.abc import Callable, Hashable, Iterable

import attrs
import trio

from ..._values.errors import RejectedByBroker, TransportError
from ..._values.messages import Message
from ..._values.settings.settings import Settings
from ..._values.statistics import Counters
from ..ledger.owed_messages import DISPLACED, EXPIRED, REPLACED, SET_ASIDE, OwedMessages
from ..line_limit import LineLimit
from .state.deferred import Deferred
from .state.in_flight import InFlight
from .state.latest import LatestEvents
from .state.outgoing import Entry
from .state.places import Places
from .state.stale import StaleEvents
from .state.suspects import Suspects
from .state.unanswered import Unanswered

logger = logging.getLogger("petalkit.outbox")

PACKET_TOO_LARGE = 0x95  # MQTT 5.0, section 2.4
SAYS_TOO_LARGE = 512  # bytes in which it can be said that a response was too large


def _nobody(*_: object) -> None:
    """There is nobody to tell."""


def _is_refusal(entry: Entry) -> bool:
    return entry.refusal


def _is_urgent(entry: Entry) -> bool:
    return entry.urgent


@attrs.define
class Hooks:
    """Who is told what, by whoever wants to know.

    Attributes:
        on_pressure: called when only a PUBACK makes room from now on, so that reading goes on.
        on_too_large: called with a response that the broker takes no such size of, and what it
            answers.
        on_place: called when there may be a place for one more response; None for nobody.
        on_refusal_place: the same of one more refusal.
        on_heavy: called with True when `outbox_bytes` are here, and with False when they are no
            more: who may answer much is not to begin meanwhile.
    """

    on_pressure: Callable[[], None] = _nobody
    on_too_large: Callable[[Message, Hashable], None] = _nobody
    on_place: Callable[[], None] | None = None
    on_refusal_place: Callable[[], None] | None = None
    on_heavy: Callable[[bool], object] = _nobody


class Contents:
    """See the module.

    Args:
        settings: the bounds.
        counters: where it counts.
        owed: told of what has to outlive the process.
        lines: of the log, about what is not sent.
        jitter: a random number in [0, 1), for waits.

    Attributes:
        hooks: who is told of what happens here.
        places: how many there are.
        latest: the newest events of their keys.
        stale: events that were too old to send, and are to be told.
        unanswered: answers for which there was no room.
        room: where publishers of events wait for it.
        next_expiry: of what is not in flight, or earlier.
        away: whether there is no link.
        stalled: only a PUBACK lets the next message leave.
        room_wanted: whether somebody may wait in `room`.
    """

    def __init__(
        self,
        settings: Settings,
        counters: Counters,
        owed: OwedMessages,
        lines: LineLimit,
        jitter: Callable[[], float],
    ) -> None:
        self.counters = counters
        self.lines = lines
        self.owed = owed
        self.hooks = Hooks()
        self.places = Places(settings)
        self.queue: deque[Entry] = deque()
        self.in_flight = InFlight()
        self.deferred = Deferred(counters, jitter)
        self.suspects = Suspects()
        self.latest = LatestEvents(self.in_flight)
        self.stale = StaleEvents()
        self.unanswered = Unanswered(counters)
        self.room = trio.lowlevel.ParkingLot()
        self.room_wanted = False
        self.next_expiry = math.inf
        self.away = True
        self.stalled = False
        self._is_heavy = False
        self._order = itertools.count(1)
        self._empty: trio.Event | None = None  # set when it is, if somebody waits

    def __len__(self) -> int:
        elsewhere = len(self.deferred) + len(self.suspects)
        return len(self.queue) + len(self.in_flight) + elsewhere

    def put(self, entry: Entry) -> None:
        """Put a message in, last. Somebody has seen that there is a place for it."""
        places = self.places
        entry.place = next(self._order)
        places.take(entry)
        if entry.message.properties is not None:
            entry.start_countdown()
        self.queue.append(entry)
        if places.size >= places.size_max and not self._is_heavy:
            self._weigh()

    def _weigh(self) -> None:
        """Tell who begins what will be answered whether there are too many bytes for that."""
        heavy = self.places.is_heavy
        if heavy is not self._is_heavy:
            self._is_heavy = heavy
            self.hooks.on_heavy(heavy)
            if heavy:
                self.hooks.on_pressure()  # nobody ends any more, so only a PUBACK makes room

    def replace(self, older: Entry, newer: Entry) -> None:
        """Put a newer event into the place of an older one of its key."""
        self.counters.events_replaced += 1
        if older.number is not None:
            self.owed.settle(older.number, REPLACED)
        self.places.size += newer.size - older.size
        self.latest.replace(older, newer)
        self.tell_removal()  # it may be smaller

    def is_wanted(self, entry: Entry) -> bool:
        """Whether one that was in flight is to be sent again; forgets it where a newer one is."""
        if self.latest.is_newest(entry):
            return True
        self.counters.events_replaced += 1
        self.forget(entry, REPLACED)
        return False

    def forget(self, entry: Entry, outcome: str | None) -> None:
        """It was taken out of where it stood; `outcome` is None where it was acknowledged."""
        if entry.number is not None:
            self.owed.settle(entry.number, outcome)
        if entry.latest is not None:
            self.latest.forget(entry)
        self.places.leave(entry)

    def expire(self, entry: Entry) -> None:
        """Give up one that was taken out of where it stood, because it is too old."""
        self.counters.publish_expired += 1
        topic = entry.message.topic or entry.name or ""
        if entry.event:
            self.stale.add(topic, trio.current_time(), away=self.away)
        elif self.lines.allows(logger, logging.WARNING, "messages that were too old to send"):
            logger.warning("a message for %r was too old to send", topic)
        self.forget(entry, EXPIRED)
        self.tell_removal()

    def take_refusal(self, entry: Entry, error: TransportError) -> None:
        """The broker takes it neither now nor later."""
        self.counters.publish_rejected += 1
        if self.lines.allows(logger, logging.ERROR, "messages that the broker refused"):
            logger.error(
                "the broker refused a message of %d bytes for %r: %s",
                entry.size,
                entry.message.topic,
                error,
            )
        too_large = isinstance(error, RejectedByBroker) and error.reason_code == PACKET_TOO_LARGE
        if too_large and not entry.event and entry.size > SAYS_TOO_LARGE:
            self.hooks.on_too_large(entry.message, entry.answers)

    def set_aside(self, entry: Entry) -> None:
        """Give up one that was in flight, because links die of it."""
        self.counters.publish_set_aside += 1
        logger.error(
            "set aside a message of %d bytes for %r: %d links died soon after it was sent, the "
            "last ones with nothing else in flight",
            entry.size,
            entry.message.topic,
            entry.losses,
        )
        self.forget(entry, SET_ASIDE)

    def make_urgent_room(self, size: int) -> bool:
        """Let go of what matters less than the answer to an urgent command; False if all matters.

        That is a refusal, the newest first, and then what another urgent command was answered, the
        oldest first. Neither when it has left already: its PUBACK is on its way.
        """
        places = self.places
        while not places.has_urgent_place and self._displace(_is_refusal, reversed(self.queue)):
            pass
        while not (places.has_urgent_place and places.has_urgent_bytes(size)):
            if not self._displace(_is_urgent, self.queue):
                return False
        return True

    def _displace(self, which: Callable[[Entry], bool], among: Iterable[Entry]) -> bool:
        """Give up the first that is meant; False when there is none."""
        entry = next(filter(which, among), None)
        if entry is None:
            return False
        self.queue.remove(entry)
        self.unanswered.add()
        self.forget(entry, DISPLACED)
        return True

    def drop_expired(self) -> bool:
        """Drop what is too old to send; False when nothing is.

        Events have expiries of their own, so the first to expire may stand behind others.
        """
        queue, now = self.queue, trio.current_time()
        if now < self.next_expiry and not (queue and queue[0].expires_at <= now):
            return False
        expired = [entry for entry in queue if entry.expires_at <= now]
        kept = [entry for entry in queue if entry.expires_at > now]
        queue.clear()
        queue.extend(kept)
        expired += self.deferred.take_expired(now) + self.suspects.take_expired(now)
        waiting = itertools.chain(queue, self.deferred, self.suspects)
        self.next_expiry = min((entry.expires_at for entry in waiting), default=math.inf)
        for entry in expired:
            self.expire(entry)
        if self.stale.due <= now:
            self.stale.say(now)
        return bool(expired)

    def tell_removal(self) -> None:
        """There may be room now."""
        if not self.queue:
            self.stalled = False
            if self._empty is not None and not len(self):
                self._empty.set()
                self._empty = None
        if self.room_wanted:
            self.room.unpark()
            self.room_wanted = bool(self.room)
        if self._is_heavy:
            self._weigh()
        if self.hooks.on_place is not None:
            self.hooks.on_place()
        if self.hooks.on_refusal_place is not None:
            self.hooks.on_refusal_place()

    async def wait_empty(self) -> None:
        """Wait until nothing is here. Has to be bounded by the caller."""
        while len(self):
            if self._empty is None:
                self._empty = trio.Event()
            await self._empty.wait()

    def close(self) -> None:
        """The runtime ends: count and report what was not sent."""
        self.stale.say(trio.current_time())
        self.unanswered.say()
        entries = (*self.queue, *self.in_flight, *self.deferred, *self.suspects)
        kept = sum(entry.number is not None for entry in entries)
        if kept:
            logger.info("the journal keeps %d responses and events for the next start", kept)
        unsent = len(entries) - kept
        if unsent:
            self.counters.publish_unsent += unsent
            logger.error("stopped with %d responses and events unsent", unsent)
