"""Sends what is in the outbox over one link at a time, and takes what the broker says to it.

The rules: a message is sent again on another link, or when the broker has refused it for now
(`deferred`). What links seem to die of goes last (`suspects`); what it means is in `_reason_codes`.
Nobody waits here: a PUBACK is what sends the next message, mostly.
"""

from __future__ import annotations

import functools
import logging
import math

import msgspec
import trio

from ..._values.errors import ConnectionLost, RejectedByBroker, TransportError
from ..._values.messages import Identity
from ...transports import Link
from ...transports._reason_codes import Blame, Refusal, blame_of, refusal_of
from ..ledger.owed_messages import REJECTED
from .contents import Contents
from .state.outgoing import Entry, in_order
from .state.suspects import LOSSES_UNTIL_CONVICTED, LOSSES_UNTIL_SUSPECT, soon

logger = logging.getLogger("petalkit.outbox")


class Sender:
    """See the module.

    Args:
        contents: of the outbox.

    Attributes:
        link: over which it sends; None for none.
        answered: messages that were acknowledged or refused.
    """

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._counters = contents.counters
        self._queue = contents.queue
        self._in_flight = contents.in_flight
        self._deferred = contents.deferred
        self._suspects = contents.suspects
        self.link: Link | None = None
        self._is_broker = True  # what the link leads to, and not to one that tries by itself
        self._identity: Identity | None = None
        self._pumping = False
        self._blocked = False  # the link took no more, and no PUBACK is to come
        self._changed = trio.Event()  # `keep_sending` has something to do, or earlier
        self.answered = 0
        contents.unanswered.on_untold = self._look_again

    def _look_again(self) -> None:
        self._changed.set()

    # -- links

    def attach(self, link: Link, identity: Identity) -> None:
        """Send over this link from now on."""
        contents, now = self._contents, trio.current_time()
        self._set_link(link)
        self._is_broker = not link.retries_by_itself
        self._clock = trio.lowlevel.current_clock()  # asked at every PUBACK
        self._identity = identity
        self._in_flight.open(link.publish_maximum)
        self._suspects.link_up(now)
        contents.next_expiry = -math.inf  # all that is too old goes at once, and is told at once
        contents.drop_expired()
        contents.stale.say(now)
        self.pump(now)

    def _set_link(self, link: Link | None) -> None:
        self.link = link
        self._contents.away = link is None

    def hold(self) -> None:
        """Send nothing more over this link, which is about to be left; PUBACKs still count."""
        self._set_link(None)
        self._contents.stalled = False

    def detach(self, loss: ConnectionLost | None) -> None:
        """The link is gone: what was in flight on it is to be sent again, in its order.

        Args:
            loss: what ended it; None for one that was left, or that says nothing of its messages.
        """
        contents = self._contents
        self._set_link(None)
        contents.stalled = self._blocked = False
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
                contents.set_aside(entry)
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
        self._suspects.add([entry for entry in suspects if contents.is_wanted(entry)])
        again = [entry for entry in again if contents.is_wanted(entry)]
        self._queue.extendleft(reversed(in_order(again)))
        contents.next_expiry = -math.inf  # not known of those; found when somebody wants room
        contents.tell_removal()

    def _is_blamed(self, entry: Entry, blame: Blame, now: float) -> bool:
        """Whether the link may have died of a message that was in flight."""
        # One that was overtaken it has read, and gone on.
        if blame is Blame.NONE or self._in_flight.is_overtaken(entry):
            return False
        return blame is Blame.LIKELY or now - entry.sent_at <= soon(entry)

    # -- sending

    def put(self, entry: Entry, now: float) -> None:
        """Put a message in, last, and send it if it may leave."""
        self._contents.put(entry)
        if self.link is not None and not self._contents.stalled:
            self.pump(now)

    def pump(self, now: float) -> None:
        """Send what may leave now."""
        if self._pumping:
            return
        contents = self._contents
        stalled = self._send_all(now)
        if contents.stale.due <= now:
            contents.stale.say(now)
        if contents.unanswered.due <= now:
            contents.unanswered.say_due(now)
        if stalled and not contents.stalled:
            contents.hooks.on_pressure()
        contents.stalled = stalled

    def _send_all(self, now: float) -> bool:
        """Send what may leave; True when only a PUBACK lets the next one leave."""
        queue, in_flight, suspects = self._queue, self._in_flight, self._suspects
        if self._deferred.next_due <= now:
            queue.extendleft(reversed(self._deferred.take_due(now)))
        if now < self._deferred.paused_until:
            return False
        while self.link is not None:
            if suspects.active and self._waits_for_trial(now):
                return True
            if not queue:
                return False
            entry = queue[0]
            if entry.expires_at <= now:
                queue.popleft()
                self._expire(entry)
                continue
            if in_flight.free <= 0:
                return True
            if entry.name is not None and self._identity is not None:
                topic = self._identity.topic(entry.name)
                entry.message = msgspec.structs.replace(entry.message, topic=topic)
                entry.name = None
            if now >= entry.stale_at:
                entry.count_down(now)
            try:
                self.link.publish_nowait(entry.message, functools.partial(self._done, entry))
            except trio.WouldBlock:
                if in_flight:
                    return True
                self._blocked = True  # no PUBACK will call here again
                self._changed.set()
                return False
            except ConnectionLost:
                self._set_link(None)  # the supervisor is about to detach it
                return False
            queue.popleft()
            in_flight.sent(entry, now)
            if entry.losses >= LOSSES_UNTIL_SUSPECT:
                suspects.sent(entry, now)
                self._changed.set()
        return False

    def _expire(self, entry: Entry) -> None:
        """Give up one. That makes room, which is told, and who is told may come back to `pump`."""
        self._pumping = True
        try:
            self._contents.expire(entry)
        finally:
            self._pumping = False

    def _waits_for_trial(self, now: float) -> bool:
        """Whether nothing may be sent for the sake of a trial; puts a suspect in front if it may.

        What was overtaken is as good as answered: nobody can tell when it leaves flight.
        """
        if self._suspects.holds_others(now):
            return True
        if not self._suspects.wants_trial(now, idle=not self._queue):
            return False
        if not all(map(self._in_flight.is_overtaken, self._in_flight)):
            return True
        self._queue.appendleft(self._suspects.pop())
        return False

    # -- what the broker says

    def _done(self, entry: Entry, error: TransportError | None) -> None:
        if error is None:
            confirmed = self._is_broker and entry.message.qos > 0
        elif isinstance(error, ConnectionLost):
            return  # detach() deals with what is lost
        else:
            confirmed = False
        if not self._in_flight.take(entry, confirmed):
            return
        contents = self._contents
        self.answered += 1
        if self._suspects.active:
            self._suspects.answered(entry, self._clock.current_time())
        if error is None:
            self._counters.published += 1
            contents.forget(entry, None)
        else:
            self._refused(entry, error)
        contents.tell_removal()
        if self.link is not None and (self._queue or self._suspects.active):
            self.pump(self._clock.current_time())

    def _refused(self, entry: Entry, error: TransportError) -> None:
        refusal = Refusal.FINAL
        if self._is_broker and isinstance(error, RejectedByBroker):
            refusal = refusal_of(error.reason_code)
        if refusal is Refusal.FINAL:
            self._contents.take_refusal(entry, error)
            self._contents.forget(entry, REJECTED)
            return
        if not self._contents.is_wanted(entry):
            return
        now = self._clock.current_time()
        entry.losses = 0  # no link has died of it: this one lives, and the broker has read it
        self._deferred.add(entry, error, now, pause=refusal is Refusal.ALL_LATER)
        self._contents.next_expiry = -math.inf
        self._changed.set()

    # -- time

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
            if self.link is link:
                self.pump(trio.current_time())

    def _next_change(self, link: Link) -> float:
        """When `pump` has something to do though no PUBACK calls it."""
        if self.link is not link:
            return math.inf
        now = trio.current_time()
        due = min(
            self._deferred.next_due,
            self._suspects.next_change(now),
            self._contents.stale.due,
            self._contents.unanswered.due,
        )
        paused = self._deferred.paused_until
        return min(due, paused) if now < paused else due

    def hurry(self) -> None:
        """Try at once what was refused for now, or waits for its trial: there may be no later."""
        self._deferred.hurry()
        self._suspects.hurry()
        self._changed.set()
