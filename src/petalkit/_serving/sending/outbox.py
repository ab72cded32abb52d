"""The outbox: every response and event until the broker has acknowledged it, across links.

The rules:

* Answering never waits. The place of a response is reserved when its command is accepted, so a
  command ends when its response is here, not when that is acknowledged (`places`).
* Whatever is here, an urgent command runs: its answer takes the place of what matters less.
* Only publishers of events wait for room, and while one does, `must_read` is true (`events`).
* A message is sent again until it is acknowledged, refused for good, or too old (`sender`).

What is here is `contents`; this is the way in, and what others may ask.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable

import attrs
import trio

from ..._values.errors import ConnectionLost
from ..._values.messages import Identity, Message
from ..._values.request import Reply
from ..._values.settings.settings import Settings
from ..._values.statistics import Counters
from ...transports import Link
from ..ledger.owed_messages import DISPLACED, OwedMessages
from ..line_limit import LineLimit
from .contents import Contents
from .events import Events
from .sender import Sender
from .state.outgoing import Entry

RECEIPT: Hashable = object()  # what a receipt answers: nothing; its response is to come


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


class Outbox:
    """See the module.

    Args:
        settings: the bounds.
        counters: where it counts.
        owed: told of what has to outlive the process.
        jitter: a random number in [0, 1), for waits.

    Attributes:
        hooks: who is told of what happens here.
        places: of responses and events.
        events: the way in for events.
        reserve: see `Places.reserve`.
    """

    def __init__(
        self,
        settings: Settings,
        counters: Counters,
        owed: OwedMessages,
        *,
        lines: LineLimit,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._expiry = settings.response_expiry
        self._owed = owed
        self._contents = contents = Contents(settings, counters, owed, lines, jitter)
        self._sender = Sender(contents)
        self.hooks = contents.hooks
        self.places = contents.places
        self.reserve = contents.places.reserve
        self._put = self._sender.put
        self.events = Events(settings, contents, self._sender)

    # -- how it stands

    def __len__(self) -> int:
        return len(self._contents)

    @property
    def is_sending(self) -> bool:
        """Whether there is a link over which what is put here leaves."""
        return self._sender.link is not None

    @property
    def size(self) -> int:
        """Payload bytes of all messages."""
        return self.places.size + self.places.refusal_size

    @property
    def answered(self) -> int:
        """Messages that were acknowledged or refused, ever."""
        return self._sender.answered

    @property
    def must_read(self) -> bool:
        """Whether progress here needs the link to be read."""
        contents = self._contents
        return contents.stalled or bool(contents.room) or (len(contents) > 0 and self._wants_place)

    def sent_since(self) -> float:
        """When the oldest message was sent whose PUBACK is to come; infinity when there is none."""
        oldest = self.oldest_sent()
        return math.inf if oldest is None else oldest.sent_at

    @property
    def _wants_place(self) -> bool:
        return self.hooks.on_refusal_place is not None or not self.places.has_place

    def oldest_sent(self, *, overtaken: bool = False) -> Entry | None:
        """The oldest message whose PUBACK is to come on this link, or was overtaken; or None."""
        return self._contents.in_flight.oldest(overtaken=overtaken)

    def is_in_flight(self, entry: Entry) -> bool:
        """Whether a message was sent on this link, and has no answer yet."""
        return entry in self._contents.in_flight

    def puback_lost(self) -> None:
        """A PUBACK did not come that should have: count it."""
        self._contents.counters.pubacks_lost += 1

    def clogged_since(self) -> float:
        """When the oldest was sent of those that were overtaken, and take half of the window.

        Infinity when they take less. They can be sent again on another link only.
        """
        return self._contents.in_flight.clogged_since() if self.is_sending else math.inf

    # -- responses

    def release(self) -> None:
        """Give a reserved place back: nothing will be answered."""
        self.places.free += 1
        if self.hooks.on_place is not None:
            self.hooks.on_place()

    def owes_answer(self, answers: Hashable) -> bool:
        """Whether a response put under that key is here, and will reach its caller by itself."""
        return answers in self.places.owed_to

    def put_response(
        self,
        message: Message,
        answers: Hashable,
        now: float,
        number: int | None = None,
        *,
        urgent: bool = False,
    ) -> None:
        """Put a response into its reserved place, and send it as soon as possible.

        Args:
            message: the response.
            answers: the `messageId` that it answers, or a key made of it; None for neither.
            now: Trio's clock.
            number: of it in the journal; None when it is in none.
            urgent: of an urgent command; where all is full, less important things are given up
                for it, or it is.
        """
        entry = Entry(message, now + self._expiry, answers=answers, number=number, urgent=urgent)
        if urgent and not self._has_urgent_room(entry):
            self._give_up(entry)
            return
        self._put(entry, now)
        if self.places.free <= 0:
            self.hooks.on_pressure()  # from now on only a PUBACK makes room

    def _has_urgent_room(self, entry: Entry) -> bool:
        self.places.free += 1  # its own, which it keeps if there is room
        if not self._contents.make_urgent_room(entry.size):
            return False
        self.places.free -= 1
        return True

    def put_refusal(
        self,
        message: Message,
        answers: Hashable,
        command: int | None = None,
        reply: Reply | None = None,
        *,
        has_place: bool = False,
        refused: Hashable = None,
    ) -> bool:
        """Put an answer for which no place was reserved; False when there is no room.

        Args:
            message: the answer.
            answers: as for `put_response`.
            command: the number of the command whose recorded answer it is; None when it is none.
            reply: which Response Topic that goes to; None for the usual topic.
            has_place: it is one of several, for all of which somebody has seen that there is room.
            refused: what it is known by, of a first answer, while it is here; see `owes_answer`.
        """
        # A recorded answer is not worth less than a first one.
        refusal = answers is None or not self.places.has_place
        if refusal and not (has_place or self.places.may_refuse(len(message.payload))):
            return False
        if not refusal:
            self.reserve()
        number = None if command is None else self._owed.post_again(message, command, reply)
        now, known = trio.current_time(), refused if answers is None else answers
        entry = Entry(message, now + self._expiry, answers=known, number=number, refusal=refusal)
        self._put(entry, now)
        return True

    def put_instead(self, message: Message, answers: Hashable) -> None:
        """Put a response into the place of one that is given up in this step."""
        now = trio.current_time()
        self.reserve(urgent=True)
        self._put(Entry(message, now + self._expiry, answers=answers), now)

    def _give_up(self, entry: Entry) -> None:
        """There is no room for it, and it is in nowhere."""
        self._contents.unanswered.add()
        if entry.number is not None:
            self._owed.settle(entry.number, DISPLACED)

    def unanswered(self, count: int = 1) -> None:
        """So many answers are not sent, because `put_refusal` had no room: count and tell it."""
        self._contents.unanswered.add(count)

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
        if not record.event:
            self.reserve(urgent=True)
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

    # -- links

    def attach(self, link: Link, identity: Identity) -> None:
        """Send over this link from now on."""
        self._sender.attach(link, identity)

    def hold(self) -> None:
        """See `Sender.hold`."""
        self._sender.hold()

    def detach(self, loss: ConnectionLost | None) -> None:
        """See `Sender.detach`."""
        self._sender.detach(loss)

    async def keep_sending(self, link: Link) -> None:
        """See `Sender.keep_sending`."""
        await self._sender.keep_sending(link)

    def expire_overtaken(self, now: float) -> None:
        """Give up what is too old and was overtaken. Its place in the window stays taken."""
        for entry in self._contents.in_flight.take_overtaken(now):
            self._contents.expire(entry)

    # -- ends

    async def wait_empty(self) -> None:
        """Wait until everything is acknowledged. Has to be bounded by the caller.

        What was refused for now, or waits for its trial, is tried at once: there may be no later.
        """
        self._sender.hurry()
        await self._contents.wait_empty()

    def close(self) -> None:
        """The runtime ends: count and report what was not sent."""
        self._contents.close()
