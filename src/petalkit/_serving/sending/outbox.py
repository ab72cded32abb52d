"""The outbox: every response and event until the broker has acknowledged it, across links.

The rules:

* Answering never waits. The place of a response is reserved when its command is accepted, so a
  command ends when its response is here, not when that is acknowledged.
* Only publishers of events wait for room, and while one does, `must_read` is true: the PUBACKs
  that make room come in on the very stream that back-pressure would stop reading.
* A message is sent again on another link, or when the broker has refused it for now (`_deferred`).
  What links seem to die of goes last (`_suspects`); what it means is in `_reason_codes`.
* A PUBACK that a later one has overtaken will not come (MQTT 3.1.1 and 5.0, section 4.6). Its
  message keeps its place in flight until the next link, and says nothing against this one.
* Of the events of one topic and `latest` key one is here that is not in flight: the newest. It
  takes the older one's place; an older one that comes back from flight is forgotten.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import math
import random
from collections import deque
from collections.abc import Callable, Generator, Hashable

import attrs
import msgspec
import trio

from ..._values.errors import ConnectionLost, RejectedByBroker, TransportError
from ..._values.messages import MAX_EXPIRY, Identity, Message, Properties
from ..._values.request import Reply
from ..._values.settings.settings import Settings
from ..._values.statistics import Counters
from ...transports import Link
from ...transports._reason_codes import Blame, Refusal, blame_of, refusal_of
from ..ledger.owed_messages import EXPIRED, REJECTED, REPLACED, SET_ASIDE, OwedMessages
from .deferred import Deferred
from .outgoing import Entry, LatestKey, in_order
from .stale import StaleEvents
from .suspects import LOSSES_UNTIL_CONVICTED, LOSSES_UNTIL_SUSPECT, Suspects, soon

logger = logging.getLogger("petalkit.outbox")

PACKET_TOO_LARGE = 0x95  # MQTT 5.0, section 2.4
SAYS_TOO_LARGE = 512  # bytes in which it can be said that a response was too large
RECEIPT: Hashable = object()  # what a receipt answers: nothing; its response is to come
ALLOWANCE = 256  # answers to refused and urgent commands beyond the capacity for responses


@attrs.frozen
class Restored:
    """A message of an earlier run, beside its words.

    Attributes:
        left: seconds until it is given up.
        event: whether it is an event.
        name: see `Entry`.
    """

    left: float
    event: bool
    name: str | None


@attrs.define
class Asking:
    """The tasks that wait with an event of one `latest` key.

    Attributes:
        tasks: how many.
        newest: `asked` of the newest that was put meanwhile; 0 for none.
    """

    tasks: int = 0
    newest: int = 0


class Outbox:
    """See the module.

    Args:
        settings: the bounds.
        counters: where it counts.
        owed: told of what has to outlive the process.
        jitter: a random number in [0, 1), for waits.

    Attributes:
        on_pressure: called when only a PUBACK makes room from now on, so that reading goes on.
        on_too_large: called with a response that the broker takes no such size of, and what it
            answers.
        on_place: called when there may be a place for one more response; None for nobody.
        on_heavy: called with True when `outbox_bytes` are in here, and with False when they are
            no more: who may answer much is not to begin meanwhile.
    """

    def __init__(
        self,
        settings: Settings,
        counters: Counters,
        owed: OwedMessages,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._owed = owed
        self._capacity = settings.response_capacity
        self._bytes_max = settings.outbox_bytes
        self._expiry = settings.response_expiry
        self._counters = counters
        self.on_pressure: Callable[[], None] = lambda: None
        self.on_too_large: Callable[[Message, Hashable], None] = lambda _message, _answers: None
        self.on_place: Callable[[], None] | None = None
        self.on_heavy: Callable[[bool], object] = lambda _heavy: None
        self._is_heavy = False
        self._queue: deque[Entry] = deque()
        self._next_expiry = math.inf  # of the events in it, or earlier
        self._places = itertools.count(1)
        self._in_flight: dict[Entry, None] = {}  # in the order in which they were sent
        self._turns = 0  # messages sent, ever
        self._confirmed = 0  # the turn of the last one that has its PUBACK
        self._deferred = Deferred(counters, jitter)
        self._suspects = Suspects()
        self._stale = StaleEvents()
        self._latest: dict[LatestKey, Entry] = {}  # the newest of each key; one per event, at most
        self._asked = itertools.count(1)
        self._asking: dict[LatestKey, Asking] = {}  # of those who wait for room
        self._link: Link | None = None
        self._is_broker = True  # what the link leads to, and not to one that tries by itself
        self._identity: Identity | None = None
        self._pumping = False
        self._window = self._window_max = 1  # messages in flight; less where PUBACKs do not come
        self._stalled = False  # only a PUBACK lets the next message leave
        self._blocked = False  # the link took no more, and no PUBACK is to come
        self._changed = trio.Event()  # `keep_sending` has something to do, or earlier
        self.answered = 0  # messages that were acknowledged or refused
        self._owed_to: dict[Hashable, int] = {}  # `answers` -> how many of them are here
        self._reserved = 0
        self._responses = 0
        self._events = 0
        self._bytes = 0
        self._room = trio.lowlevel.ParkingLot()
        self._empty: trio.Event | None = None  # set when it is, if somebody waits

    # -- how it stands

    def __len__(self) -> int:
        elsewhere = len(self._deferred) + len(self._suspects)
        return len(self._queue) + len(self._in_flight) + elsewhere

    @property
    def is_sending(self) -> bool:
        """Whether there is a link over which what is put here leaves."""
        return self._link is not None

    @property
    def size(self) -> int:
        """Payload bytes of all messages."""
        return self._bytes

    @property
    def must_read(self) -> bool:
        """Whether progress here needs the link to be read."""
        return self._stalled or bool(self._room) or (len(self) > 0 and not self._has_place())

    def sent_since(self) -> float:
        """When the oldest message was sent whose PUBACK is to come; infinity when there is none."""
        for entry in self._in_flight:
            if not self._is_overtaken(entry):
                return entry.sent_at
        return math.inf

    def clogged_since(self) -> float:
        """When the oldest was sent of those that were overtaken, and take half of the window.

        Infinity when they take less. They can be sent again on another link only.
        """
        overtaken = [entry for entry in self._in_flight if self._is_overtaken(entry)]
        given_up = self._window_max - self._window
        if self._link is None or 2 * (len(overtaken) + given_up) < self._window_max:
            return math.inf
        return min((entry.sent_at for entry in overtaken), default=-math.inf)

    def _is_overtaken(self, entry: Entry) -> bool:
        return entry.turn < self._confirmed

    def expire_overtaken(self, now: float) -> None:
        """Give up what is too old and was overtaken. Its place in the window stays taken."""
        for entry in [one for one in self._in_flight if one.expires_at <= now]:
            if self._is_overtaken(entry):
                del self._in_flight[entry]
                self._window -= 1
                self._expire(entry)

    # -- responses

    def _has_place(self) -> bool:
        return self._reserved + self._responses < self._capacity and self._bytes < self._bytes_max

    def reserve(self, places: int = 1, *, force: bool = False) -> bool:
        """Take the places of responses to come; False when there is none.

        One free place is enough for all the responses of a command: else one that is answered in
        two places would never be accepted where there is one place in all.

        Args:
            places: how many.
            force: take it all the same, up to an allowance: an urgent command passes the limits.
        """
        if not self._has_place() and not (force and self._has_allowance()):
            return False
        self._reserved += places
        return True

    def _has_allowance(self) -> bool:
        """Whether there is a place for what is answered although everything is full."""
        settings = self._settings
        return (
            self._reserved + self._responses < settings.response_capacity + ALLOWANCE
            and self._bytes < 2 * settings.outbox_bytes
        )

    def release(self) -> None:
        """Give a reserved place back: nothing will be answered."""
        self._reserved -= 1
        if self.on_place is not None:
            self.on_place()

    def owes_answer(self, answers: Hashable) -> bool:
        """Whether a response put under that key is here, and will reach its caller by itself."""
        return answers in self._owed_to

    def put_response(
        self, message: Message, answers: Hashable, now: float, number: int | None = None
    ) -> None:
        """Put a response into its reserved place, and send it as soon as possible.

        Args:
            message: the response.
            answers: the `messageId` that it answers, or a key made of it; None for neither.
            now: Trio's clock.
            number: of it in the journal; None when it is in none.
        """
        self._reserved -= 1
        self._put(Entry(message, now + self._expiry, answers=answers, number=number), now)
        if not self._has_place():
            self.on_pressure()  # from now on only a PUBACK makes room

    def put_refusal(
        self,
        message: Message,
        answers: Hashable,
        command: int | None = None,
        reply: Reply | None = None,
    ) -> bool:
        """Put an answer for which no place was reserved; False when there is no room.

        Args:
            message: the answer.
            answers: as for `put_response`.
            command: the number of the command whose recorded answer it is; None when it is none.
            reply: which Response Topic that goes to; None for the usual topic.
        """
        if not self._has_allowance():
            return False
        number = None if command is None else self._owed.post_again(message, command, reply)
        now = trio.current_time()
        self._put(Entry(message, now + self._expiry, answers=answers, number=number), now)
        return True

    def restore(self, message: Message, answers: Hashable, number: int, record: Restored) -> None:
        """Put back what an earlier run owed, whatever there is room for: it was in then.

        Args:
            message: as it was.
            answers: as for `put_response`.
            number: of it in the journal.
            record: what else is known of it.
        """
        now = trio.current_time()
        expires_at = now + min(record.left, self._expiry)
        self._put(
            Entry(
                message,
                expires_at,
                answers=answers,
                name=record.name,
                event=record.event,
                number=number,
            ),
            now,
        )

    # -- events

    def _has_room(self, size: int) -> bool:
        settings = self._settings
        if self._events < settings.event_capacity and (
            self._events == 0 or self._bytes + size <= settings.outbox_bytes
        ):
            return True
        return self._drop_expired() and self._has_room(size)

    async def put_event(
        self,
        payload: bytes,
        *,
        qos: int,
        identity: Identity | None,
        name: str,
        expiry: float = math.inf,
        durable: bool = False,
        latest: str | None = None,
    ) -> None:
        """Put an event, waiting for room without a limit: the caller knows how long it can wait.

        It expires in `expiry` seconds, those of waiting among them, if that is not later than
        every message does.

        Cancellation: it is in or it is not.

        Args:
            payload: its bytes.
            qos: 0 or 1.
            identity: under which it is published; None for that which is known when it leaves.
            name: its topic under the base topic.
            expiry: see above.
            durable: with a journal, it outlives the process; of QoS 1 only.
            latest: a key: it takes the place of an unsent event of that topic and key, and waits
                for no room unless it is larger and that is too much.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        expires_at = trio.current_time() + expiry
        asked = next(self._asked)
        key = self._latest_key(identity, name, latest)
        # Behind those who wait already, or a fast publisher would starve them.
        waited = False
        with self._ask(key):
            while not self._may_replace(key, len(payload)) and (
                not self._has_room(len(payload)) or (self._room and not waited)
            ):
                waited = True
                self.on_pressure_soon()
                await self._room.park()
            late = self._is_late(key, asked)
        if late:
            self._counters.events_replaced += 1
        else:
            self.put_event_nowait(
                payload,
                qos=qos,
                identity=identity,
                name=name,
                expires_at=expires_at,
                durable=durable,
                latest=latest,
                force=True,
                asked=asked,
            )
        if self._room and self._has_room(0):
            self._room.unpark()
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()

    def on_pressure_soon(self) -> None:
        """Tell the intake that somebody waits from now on, once the waiter is parked."""
        trio.lowlevel.current_trio_token().run_sync_soon(self.on_pressure, idempotent=True)

    def put_event_nowait(
        self,
        payload: bytes,
        *,
        qos: int,
        identity: Identity | None,
        name: str,
        expires_at: float = math.inf,
        durable: bool = False,
        latest: str | None = None,
        force: bool = False,
        asked: int | None = None,
    ) -> bool:
        """Put an event if there is room for it, and nobody waits for that room already.

        See `put_event`. `asked`: when, among the calls, if that was earlier.
        """
        key = self._latest_key(identity, name, latest)
        force = force or self._may_replace(key, len(payload))
        if not force and (self._room or not self._has_room(len(payload))):
            return False
        topic = "" if identity is None else identity.topic(name)
        now = trio.current_time()
        properties = None
        if expires_at < math.inf and self._settings.speaks_mqtt_5:
            # Rounded up, and never more than the wire can say: it is counted down when it leaves.
            properties = Properties(message_expiry=MAX_EXPIRY)
        message = Message(topic, payload, qos, False, properties)
        expires_at = min(expires_at, now + self._expiry)
        self._next_expiry = min(self._next_expiry, expires_at)
        entry = Entry(message, expires_at, name=None if topic else name, event=True, latest=key)
        older = None
        if key is not None:
            older = self._find_unsent(key)
            if self._asking:
                self._tell_asking(key, next(self._asked) if asked is None else asked)
        if durable and qos:
            entry.number = self._owed.post(message, expires_at - now, name=entry.name)
        if older is not None:
            self._replace(older, entry)
            return True
        if key is not None:
            self._latest[key] = entry
        self._put(entry, now)
        return True

    # -- only the latest

    def _latest_key(
        self, identity: Identity | None, name: str, latest: str | None
    ) -> LatestKey | None:
        if latest is None:
            return None
        return ("", name, latest) if identity is None else (identity.topic(name), name, latest)

    def _find_unsent(self, key: LatestKey) -> Entry | None:
        """The event that one of this key replaces; also of when the identity was not known yet."""
        for one in (key, ("", *key[1:])):
            found = self._latest.get(one)
            if found is not None and found not in self._in_flight:
                return found
        return None

    @contextlib.contextmanager
    def _ask(self, key: LatestKey | None) -> Generator[None]:
        """Note what is put under a key inside this block."""
        if key is None:
            yield
            return
        asking = self._asking.setdefault(key, Asking())
        asking.tasks += 1
        try:
            yield
        finally:
            asking.tasks -= 1
            if not asking.tasks:
                del self._asking[key]

    def _tell_asking(self, key: LatestKey, asked: int) -> None:
        for one in (key, ("", *key[1:])):
            if one in self._asking:
                self._asking[one].newest = max(self._asking[one].newest, asked)

    def _is_late(self, key: LatestKey | None, asked: int) -> bool:
        """Whether it has waited for room so long that a newer one of its key was put."""
        return key is not None and self._asking[key].newest > asked

    def _may_replace(self, key: LatestKey | None, size: int) -> bool:
        """Whether it needs no room of its own."""
        older = None if key is None else self._find_unsent(key)
        if older is None:
            return False
        more = size - older.size
        return more <= 0 or self._events == 1 or self._bytes + more <= self._settings.outbox_bytes

    def _replace(self, older: Entry, newer: Entry) -> None:
        self._counters.events_replaced += 1
        if older.number is not None:
            self._owed.settle(older.number, REPLACED)
        self._bytes += newer.size - older.size
        assert older.latest is not None
        assert newer.latest is not None
        del self._latest[older.latest]
        older.become(newer)
        self._latest[newer.latest] = older
        self._after_removal()  # it may be smaller

    def _is_wanted(self, entry: Entry) -> bool:
        """Whether one that was in flight is to be sent again; forgets it where a newer one is."""
        if entry.latest is None or self._latest.get(entry.latest) is entry:
            return True
        self._counters.events_replaced += 1
        self._forget(entry, REPLACED)
        return False

    # -- sending

    def _put(self, entry: Entry, now: float) -> None:
        entry.place = next(self._places)
        if entry.event:
            self._events += 1
        else:
            self._responses += 1
            if entry.answers is not None:
                self._owed_to[entry.answers] = self._owed_to.get(entry.answers, 0) + 1
        message = entry.message
        self._bytes += len(message.payload)
        entry.start_countdown()
        self._queue.append(entry)
        if self._link is not None and not self._stalled:
            self._pump(now)
        if self._bytes >= self._bytes_max and not self._is_heavy:
            self._weigh()

    def _weigh(self) -> None:
        """Tell who begins what will be answered whether there are too many bytes for that."""
        heavy = self._bytes >= self._bytes_max
        if heavy is not self._is_heavy:
            self._is_heavy = heavy
            self.on_heavy(heavy)
            if heavy:
                self.on_pressure()  # nobody ends any more, so only a PUBACK makes room

    def attach(self, link: Link, identity: Identity) -> None:
        """Send over this link from now on."""
        now = trio.current_time()
        self._link = link
        self._is_broker = not link.retries_by_itself
        self._clock = trio.lowlevel.current_clock()  # asked at every PUBACK
        self._identity = identity
        # One place is left free: at a stop `offline` has to pass whatever waits for its PUBACK.
        self._window = self._window_max = max(1, link.publish_maximum - 1)
        self._suspects.link_up(now)
        self._next_expiry = -math.inf  # all that is too old goes at once, and is told at once
        self._drop_expired()
        self._stale.say(now)
        self._pump(now)

    def hold(self) -> None:
        """Send nothing more over this link, which is about to be left; PUBACKs still count."""
        self._link = None
        self._stalled = False

    def detach(self, loss: ConnectionLost | None) -> None:
        """The link is gone: what was in flight on it is to be sent again, in its order.

        Args:
            loss: what ended it; None for one that was left, or that says nothing of its messages.
        """
        self._link = None
        self._stalled = self._blocked = False
        now = trio.current_time()
        blame = Blame.NONE if loss is None else blame_of(loss)
        again: list[Entry] = []
        suspects: list[Entry] = []
        blamed = False
        for entry in self._in_flight:
            if not self._is_blamed(entry, blame, now):
                again.append(entry)
                continue
            blamed = True
            entry.losses += 1
            if entry.losses >= LOSSES_UNTIL_CONVICTED:
                self._set_aside(entry)
            elif entry.losses >= LOSSES_UNTIL_SUSPECT:
                suspects.append(entry)
            else:
                again.append(entry)
        self._in_flight.clear()
        # One that was to begin its trial, when the link took no more, has to wait like the others.
        late = [entry for entry in self._queue if entry.losses >= LOSSES_UNTIL_SUSPECT]
        for entry in late:
            self._queue.remove(entry)
        self._suspects.add(late)
        if blame is not Blame.NONE and not blamed:
            again += self._suspects.clear()
        self._suspects.add([entry for entry in suspects if self._is_wanted(entry)])
        again = [entry for entry in again if self._is_wanted(entry)]
        self._queue.extendleft(reversed(in_order(again)))
        self._next_expiry = -math.inf  # not known of those; found when somebody wants room
        self._after_removal()

    def _is_blamed(self, entry: Entry, blame: Blame, now: float) -> bool:
        """Whether the link may have died of a message that was in flight."""
        if blame is Blame.NONE or self._is_overtaken(entry):  # that one it has read, and gone on
            return False
        return blame is Blame.LIKELY or now - entry.sent_at <= soon(entry)

    def _set_aside(self, entry: Entry) -> None:
        self._counters.publish_set_aside += 1
        logger.error(
            "set aside a message of %d bytes for %r: %d links died soon after it was sent, the "
            "last ones with nothing else in flight",
            entry.size,
            entry.message.topic,
            entry.losses,
        )
        self._forget(entry, SET_ASIDE)

    def _pump(self, now: float) -> None:
        if self._pumping:  # what expires here makes room, which is told, and may come back here
            return
        self._pumping = True
        try:
            stalled = self._send_all(now)
        finally:
            self._pumping = False
        self._stale.say_due(now)
        if stalled and not self._stalled:
            self.on_pressure()
        self._stalled = stalled

    def _send_all(self, now: float) -> bool:
        """Send what may leave; True when only a PUBACK lets the next one leave."""
        queue, in_flight, suspects = self._queue, self._in_flight, self._suspects
        if self._deferred.next_due <= now:
            queue.extendleft(reversed(self._deferred.take_due(now)))
        if now < self._deferred.paused_until:
            return False
        while self._link is not None:
            if suspects.active and self._waits_for_trial(now):
                return True
            if not queue:
                return False
            entry = queue[0]
            if entry.expires_at <= now:
                queue.popleft()
                self._expire(entry)
                continue
            if len(in_flight) >= self._window:
                return True
            if entry.name is not None and self._identity is not None:
                topic = self._identity.topic(entry.name)
                entry.message = msgspec.structs.replace(entry.message, topic=topic)
                entry.name = None
            if now >= entry.stale_at:
                entry.count_down(now)
            try:
                self._link.publish_nowait(entry.message, functools.partial(self._done, entry))
            except trio.WouldBlock:
                if in_flight:
                    return True
                self._blocked = True  # no PUBACK will call here again
                self._changed.set()
                return False
            except ConnectionLost:
                self._link = None  # the supervisor is about to detach it
                return False
            queue.popleft()
            self._turns = entry.turn = self._turns + 1
            entry.sent_at = now
            in_flight[entry] = None
            if entry.losses >= LOSSES_UNTIL_SUSPECT:
                suspects.sent(entry, now)
                self._changed.set()
        return False

    def _waits_for_trial(self, now: float) -> bool:
        """Whether nothing may be sent for the sake of a trial; puts a suspect in front if it may.

        What was overtaken is as good as answered: nobody can tell when it leaves flight.
        """
        if self._suspects.holds_others(now):
            return True
        if not self._suspects.wants_trial(now, idle=not self._queue):
            return False
        if not all(map(self._is_overtaken, self._in_flight)):
            return True
        self._queue.appendleft(self._suspects.pop())
        return False

    def _done(self, entry: Entry, error: TransportError | None) -> None:
        if isinstance(error, ConnectionLost) or entry not in self._in_flight:
            return  # detach() deals with what is lost
        del self._in_flight[entry]
        self.answered += 1
        if self._suspects.active:
            self._suspects.answered(entry, self._clock.current_time())
        if error is None:
            self._counters.published += 1
            if entry.turn > self._confirmed and entry.message.qos and self._is_broker:
                self._confirmed = entry.turn
            self._deferred.accepted()
            self._forget(entry, None)
        else:
            self._refused(entry, error)
        self._after_removal()
        if self._link is not None and (self._queue or self._suspects.active):
            self._pump(self._clock.current_time())

    def _refused(self, entry: Entry, error: TransportError) -> None:
        refusal = Refusal.FINAL
        if self._is_broker and isinstance(error, RejectedByBroker):
            refusal = refusal_of(error.reason_code)
        if refusal is Refusal.FINAL:
            self._take_refusal(entry, error)
            self._forget(entry, REJECTED)
            return
        if not self._is_wanted(entry):
            return
        now = self._clock.current_time()
        entry.losses = 0  # no link has died of it: this one lives, and the broker has read it
        self._deferred.add(entry, error, now, pause=refusal is Refusal.ALL_LATER)
        self._next_expiry = -math.inf
        self._changed.set()

    def _take_refusal(self, entry: Entry, error: TransportError) -> None:
        """The broker takes it neither now nor later."""
        self._counters.publish_rejected += 1
        logger.error(
            "the broker refused a message of %d bytes for %r: %s",
            entry.size,
            entry.message.topic,
            error,
        )
        too_large = isinstance(error, RejectedByBroker) and error.reason_code == PACKET_TOO_LARGE
        if too_large and not entry.event and entry.size > SAYS_TOO_LARGE:
            self.on_too_large(entry.message, entry.answers)

    def _expire(self, entry: Entry) -> None:
        self._counters.publish_expired += 1
        topic = entry.message.topic or entry.name or ""
        if entry.event:
            self._stale.add(topic, trio.current_time(), away=self._link is None)
        else:
            logger.warning("a message for %r was too old to send", topic)
        self._forget(entry, EXPIRED)
        self._after_removal()

    def _drop_expired(self) -> bool:
        """Drop what is too old to send; False when nothing is.

        Events have expiries of their own, so the first to expire may stand behind others.
        """
        queue, now = self._queue, trio.current_time()
        if now < self._next_expiry and not (queue and queue[0].expires_at <= now):
            return False
        expired = [entry for entry in queue if entry.expires_at <= now]
        kept = [entry for entry in queue if entry.expires_at > now]
        queue.clear()
        queue.extend(kept)
        expired += self._deferred.take_expired(now) + self._suspects.take_expired(now)
        waiting = itertools.chain(queue, self._deferred, self._suspects)
        self._next_expiry = min((entry.expires_at for entry in waiting), default=math.inf)
        for entry in expired:
            self._expire(entry)
        self._stale.say_due(now)
        return bool(expired)

    def _forget(self, entry: Entry, outcome: str | None) -> None:
        if entry.number is not None:
            self._owed.settle(entry.number, outcome)
        if entry.event:
            self._events -= 1
            if entry.latest is not None and self._latest.get(entry.latest) is entry:
                del self._latest[entry.latest]
        else:
            self._responses -= 1
            if entry.answers is not None:
                left = self._owed_to.pop(entry.answers) - 1
                if left:
                    self._owed_to[entry.answers] = left
        self._bytes -= entry.size

    def _after_removal(self) -> None:
        if not self._queue:
            self._stalled = False
            if self._empty is not None and not len(self):
                self._empty.set()
                self._empty = None
        if self._room:
            self._room.unpark()
        if self._is_heavy:
            self._weigh()
        if self.on_place is not None:
            self.on_place()

    async def keep_sending(self, link: Link) -> None:
        """Go on when it is time for what waits, or a link takes again what it took not. No end.

        Mostly a PUBACK is what makes room in a link, and sends the next; a link that is full of
        bytes without a PUBACK to come (QoS 0) tells only who waits for it.

        Raises:
            ConnectionLost: the link is gone.
        """
        while True:
            if not self._blocked:
                self._changed = trio.Event()
                with trio.move_on_at(self._next_change(link)):
                    await self._changed.wait()
            if self._blocked:
                self._blocked = False
                await link.wait_publishable()
            if self._link is link:
                self._pump(trio.current_time())

    def _next_change(self, link: Link) -> float:
        """When `_pump` has something to do though no PUBACK calls it."""
        if self._link is not link:
            return math.inf
        now = trio.current_time()
        due = min(self._deferred.next_due, self._suspects.next_change(now), self._stale.due)
        paused = self._deferred.paused_until
        return min(due, paused) if now < paused else due

    async def wait_empty(self) -> None:
        """Wait until everything is acknowledged. Has to be bounded by the caller.

        What was refused for now, or waits for its trial, is tried at once: there may be no later.
        """
        self._deferred.hurry()
        self._suspects.hurry()
        self._changed.set()
        while len(self):
            if self._empty is None:
                self._empty = trio.Event()
            await self._empty.wait()

    def close(self) -> None:
        """The runtime ends: count and report what was not sent."""
        self._stale.say(trio.current_time())
        entries = (*self._queue, *self._in_flight, *self._deferred, *self._suspects)
        kept = sum(entry.number is not None for entry in entries)
        if kept:
            logger.info("the journal keeps %d responses and events for the next start", kept)
        unsent = len(entries) - kept
        if unsent:
            self._counters.publish_unsent += unsent
            logger.error("stopped with %d responses and events unsent", unsent)
