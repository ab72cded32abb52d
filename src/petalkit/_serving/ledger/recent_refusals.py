"""Commands that were answered "not now": what to say when the same bytes come again.

Such a command is not recorded, and a caller that sends it again is judged anew. But what comes
again may be the broker's own second delivery, because the acknowledgement of the first was lost
with its link, and then nobody has asked: to run it would be a second outcome of a command that has
its answer. Nothing in MQTT tells the two apart for sure. So where it may be the broker's, it is not
run; and where it may be the caller's, there is an answer: the same again.

Nor is it run while the broker has not acknowledged the answer to the first: the caller cannot have
seen that, and so does not try again. It is its client that sends the same message twice, or a
broker that gives it twice (AWS IoT Core, with another packet identifier and DUP 0).

The same `messageId` with the same bytes, refused before:

| it comes | DUP 1 | DUP 0 |
|---|---|---|
| while the answer is on its way, or waits for a place | same refusal | same refusal |
| on the same link | same refusal (a) | judged anew: nobody delivers twice on a link |
| next link, same packet ID, our acknowledgement never left | nothing (b) | nothing (b, c) |
| later link of the session, same packet ID | same refusal | same refusal (c) |
| later link of the session, another packet ID | same refusal (a, d) | judged anew |
| a link whose session is new, or QoS 0 | judged anew (e) | judged anew |

(a) ejabberd sets DUP on what stood first in its line, though it never sent it: it may be a caller's
second try. (b) It is the broker's for certain, and the answer to it is sent, or on its way. (c)
aedes sets no DUP on what it delivers again. (d) RabbitMQ delivers again with other packet IDs. (e)
The broker has forgotten the first.

A caller whose second try looks like the broker's gets the refusal again, as `retryable` as it was;
its next try, on this link, is judged anew. Other bytes under the same `messageId` are no second
delivery.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeAlias

import attrs
import msgspec

from ...transports import AckWindow, Delivery

REMEMBERED = 1000  # of them; far more than a broker has unacknowledged on a link
ANSWER_MAX = 4096  # bytes of an answer that is kept with one


class Refused(msgspec.Struct, frozen=True):
    """What was said, and to which delivery.

    Attributes:
        code: `error_code` of the answer.
        text: of the answer, for people.
        arrival: of the delivery; see `RecentRefusals.arrival`.
        answer: the answer itself, where there is no text of it.
        key: what the outbox knows the answer by; None for nothing.
    """

    code: str
    text: str
    arrival: int
    answer: bytes | None = None
    key: Hashable = None


Key: TypeAlias = tuple[str, int]  # `messageId`, and a hash of the bytes, which may be many


@attrs.frozen
class Noting:
    """What is to be noted of one refusal, as its answer goes on.

    Attributes:
        waits: its answer waits for a place.
        said: it is on its way.
        unsaid: it will not be said: the command comes again, and is judged anew.
        key: what the outbox is to know the answer by.
    """

    waits: Callable[[], None]
    said: Callable[[], None]
    unsaid: Callable[[], object]
    key: Hashable = None


class RecentRefusals:
    """See the module.

    Args:
        owes: whether an answer of that key is on its way.

    Attributes:
        messages: what was said of them; mostly there are none, and no need to ask.
        waiting: those whose answers wait for a place; the same.
        link: the number of the link, above the bits of a packet identifier.
    """

    def __init__(self, owes: Callable[[Hashable], bool]) -> None:
        self._owes = owes
        self.messages: OrderedDict[Key, Refused] = OrderedDict()
        self.waiting: dict[Key, Refused] = {}
        self.link = 0
        self._window: AckWindow | None = None  # of the link, if something came on it
        self._unsent: frozenset[int] = frozenset()  # packet IDs of the link before

    def new_link(self, *, session_present: bool) -> None:
        """A link begins. A broker that has kept no session has nothing to deliver again."""
        self.link += 1 << 16
        self._unsent = frozenset() if self._window is None else self._window.unsent
        self._window = None
        if not session_present:
            self.messages.clear()

    def came(self, delivery: Delivery) -> None:
        """The last of those that have come together on this link."""
        if delivery.window is not None:
            self._window = delivery.window

    @property
    def owed(self) -> int:
        """Deliveries of this link whose acknowledgement has not left, if any has come here."""
        return 0 if self._window is None else len(self._window)

    def arrival(self, delivery: Delivery) -> int:
        """The number of the link that a delivery came on, and its packet identifier, as one."""
        return self.link | delivery.packet_id

    def note(self, message_id: str | None, payload: bytes, refused: Refused) -> None:
        """One was refused; its answer is on its way, if it wants one."""
        if message_id is not None:
            self._note((message_id, hash(payload)), refused)

    def noting(self, message_id: str | None, payload: bytes, refused: Refused) -> Noting:
        """The same, as it goes on. It keeps none of the payload."""
        if message_id is None:
            return NOTHING_NOTED
        key = message_id, hash(payload)
        refused = msgspec.structs.replace(refused, key=key)
        return Noting(
            functools.partial(self.waiting.__setitem__, key, refused),
            functools.partial(self._note, key, refused),
            functools.partial(self.waiting.pop, key, None),
            key,
        )

    def _note(self, key: Key, refused: Refused) -> None:
        if refused.answer is not None and len(refused.answer) > ANSWER_MAX:
            refused = msgspec.structs.replace(refused, answer=None)
        self.waiting.pop(key, None)
        self.messages[key] = refused
        self.messages.move_to_end(key)
        if len(self.messages) > REMEMBERED:
            self.messages.popitem(last=False)

    def forget(self, message_id: str | None, payload: bytes) -> None:
        """It was accepted after all, and will have another answer."""
        if self.messages and message_id is not None:
            self.messages.pop((message_id, hash(payload)), None)

    def find(self, message_id: str | None, delivery: Delivery) -> Refused | None:
        """What to say again to a delivery; None when it is to be judged anew."""
        if message_id is None or not (self.messages or self.waiting):
            return None
        key = message_id, hash(delivery.payload)
        if (refused := self.waiting.get(key)) is not None:
            return refused
        refused = self.messages.get(key)
        if refused is None:
            return None
        if (delivery.dup and delivery.qos) or self._owes(refused.key):
            return refused
        packet_id = refused.arrival & 0xFFFF
        again = refused.arrival < self.link and packet_id == delivery.packet_id != 0
        return refused if again and delivery.qos else None

    def is_certain(self, refused: Refused, delivery: Delivery) -> bool:
        """Whether it is the broker's for certain, so that nobody waits for another answer."""
        return (
            refused.arrival == self.link - (1 << 16) | delivery.packet_id
            and delivery.packet_id in self._unsent
        )


def _nothing() -> None:
    """It has no ID to be known by, or is judged anew whenever it comes."""


NOTHING_NOTED = Noting(_nothing, _nothing, _nothing)
