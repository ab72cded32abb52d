"""A message as a link handed it over, and the order in which acknowledgements leave.

Two rules hold everywhere:

* A delivery belongs to its link. Packet identifiers start anew on every connection, so an `ack()`
  that was kept from a dead link must do nothing: it would acknowledge somebody else's message.
* PUBACKs leave in the order in which the PUBLISH packets came (MQTT 5.0, section 4.6), whatever
  the order of the `ack()` calls.

The trap: one that is not acknowledged holds up thousands behind it. So what waits for its turn is
a packet identifier (`Turn`), and nobody here keeps a delivery, with its bytes, that was
acknowledged.

`Delivery` takes more than six arguments: it is the value itself, made once for every message.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable

import msgspec

from .._values.messages import Properties


class Fault(msgspec.Struct, frozen=True):
    """Why a message is refused by whoever reads it, whatever it was meant to say.

    Attributes:
        text: for people.
        too_large: it is as MQTT wants it, but was too large to be kept.
        reason_code: of MQTT 5, for the connection that ends over it.
        answer: of MQTT 5, for its PUBACK or PUBREC; 0 for a plain one.
    """

    text: str
    too_large: bool = False
    reason_code: int = 0x81
    answer: int = 0x80


class Turn(msgspec.Struct, eq=False):
    """The place of one acknowledgement among all.

    Attributes:
        number: the packet identifier, and above it what the link has to say.
        acked: whether its delivery was acknowledged.
    """

    number: int
    acked: bool = False


_NO_TURN = Turn(0, True)  # of what has no acknowledgement


class Delivery:
    """One message as the link handed it over, with its acknowledgement still owed.

    Attributes:
        topic: where it was published.
        payload: its bytes.
        qos: as it was delivered, 0 or 1.
        retain: True for a message that the broker had kept from before the subscription.
        dup: the broker says that it may have been delivered before. Not every broker does, and one
            says so of a first delivery.
        replayed: an earlier process may have had it; set by whoever reads it, where nobody says so.
        properties: of MQTT 5; None when the message had none.
        fault: why there is nothing in it to be read: `payload` is empty then, and `topic` too where
            it cannot be read. To be acknowledged like any other. None for all good messages.
    """

    __slots__ = (
        "_turn", "_window", "dup", "fault", "payload", "properties", "qos", "replayed", "retain",
        "topic",
    )  # fmt: skip

    def __init__(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 0,
        retain: bool = False,
        dup: bool = False,
        window: AckWindow | None = None,
        packet_id: int = 0,
        properties: Properties | None = None,
        fault: Fault | None = None,
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.dup = dup
        self.replayed = False
        self.properties = properties
        self.fault = fault
        self._window = window
        if window is None:
            self._turn = _NO_TURN
        else:
            self._turn = turn = Turn(packet_id)
            window._pending.append(turn)

    @property
    def packet_id(self) -> int:
        """The broker's number for it on its link; 0 for QoS 0."""
        return self._turn.number & 0xFFFF

    @property
    def window(self) -> AckWindow | None:
        """Where its acknowledgement waits for its turn; None for QoS 0."""
        return self._window

    def ack(self) -> None:
        """Acknowledge to the broker, in this delivery's turn.

        Does nothing for QoS 0, when called again, and when the link is gone. From then on the link
        keeps none of its bytes.
        """
        turn = self._turn
        if not turn.acked:
            turn.acked = True
            window = self._window
            # Only the first of them can make any ready, and those behind it come along.
            if window is not None and not window.ready:
                pending = window._pending
                if pending and pending[0] is turn:
                    window.ready = True
                    window._on_ready()

    @property
    def is_acked(self) -> bool:
        """Whether nothing is owed for it any more by whoever has it; so always with QoS 0."""
        return self._turn.acked

    def hold_back(self) -> bool:
        """Take an acknowledgement back; False when it has left, or may have."""
        held = self._window is not None and self in self._window
        if held:
            self._turn.acked = False
        return held

    @property
    def comes_again(self) -> bool:
        """Whether its link is gone, and its acknowledgement never left: a kept session has it."""
        window = self._window
        return window is not None and window.is_closed and self.packet_id in window.unsent

    def let_go(self) -> None:
        """Let go of its bytes: only its acknowledgement is wanted any more."""
        self.payload, self.properties = b"", None

    def when_left(self, then: Callable[[], object]) -> None:
        """Call `then` when its acknowledgement has left, or the link is gone; see `AckWindow`.

        At once where that is so already, and for QoS 0.
        """
        if self._window is None:
            then()
        else:
            self._window.when_left(self._turn, then)

    def __repr__(self) -> str:
        return f"<Delivery on {self.topic!r} qos={self.qos} {len(self.payload)} bytes>"


class WithdrawableDelivery(Delivery):
    """One that its transport takes back when nobody has accepted it for too long.

    Attributes:
        on_withdrawn: called when that happens; set by whoever keeps it until it is accepted.
    """

    __slots__ = ("on_withdrawn",)

    on_withdrawn: Callable[[Delivery], object] | None


def _nobody() -> None:
    """There is nobody to tell."""


class AckWindow:
    """The QoS 1 deliveries of one link whose acknowledgement has not left, in order of arrival.

    Args:
        on_ready: called when some of them may leave, until `take_ready` has taken them, which
            `sent` follows; must not raise.

    Attributes:
        ready: whether `take_ready` has something to give.
        unsent: packet IDs whose acknowledgement has never left, once it is closed: a session that
            is kept delivers these again, for certain.
    """

    __slots__ = (
        "_awaited", "_leaving", "_on_ready", "_pending", "_taken", "ready", "unsent",
    )  # fmt: skip

    def __init__(self, on_ready: Callable[[], object]) -> None:
        self._on_ready = on_ready
        self._pending: deque[Turn] = deque()
        self._taken = False  # and not sent
        # Who waits for an acknowledgement to leave: of what is pending, and of what was taken.
        self._awaited: dict[Turn, Callable[[], object]] = {}
        self._leaving: list[Callable[[], object]] = []
        self.ready = False
        self.unsent: frozenset[int] = frozenset()

    @property
    def is_closed(self) -> bool:
        """Whether its link is gone."""
        return self._on_ready is _nobody

    def __len__(self) -> int:
        return len(self._pending)

    def __contains__(self, delivery: object) -> bool:
        """Whether a delivery's acknowledgement has not been taken to be sent."""
        return isinstance(delivery, Delivery) and delivery._turn in self._pending

    def drain(self) -> list[int]:
        """`take_ready` at the end, when nothing that it gives is sent."""
        ready = self.take_ready()
        self.unsent |= frozenset(turn & 0xFFFF for turn in ready)
        return ready

    def take_ready(self) -> list[int]:
        """The packet IDs whose turn has come, in order; they count as acknowledged."""
        self.ready = False
        pending = self._pending
        if self._awaited:  # which is rare
            self._note_leaving()
        taken: list[int] = []
        while pending and pending[0].acked:
            taken.append(pending.popleft().number)
        self._taken = True
        return taken

    def _note_leaving(self) -> None:
        for turn in itertools.takewhile(lambda one: one.acked, self._pending):
            if (then := self._awaited.pop(turn, None)) is not None:
                self._leaving.append(then)

    def sent(self) -> None:
        """What `take_ready` gave is out: the kernel has it, and sends it though the process dies.

        (For all that a process can know. What a dead network has swallowed comes again.)
        """
        self._taken = False
        if self._leaving:
            self._tell_left()

    def _tell_left(self) -> None:
        leaving, self._leaving = self._leaving, []
        for then in leaving:
            then()

    def when_left(self, turn: Turn, then: Callable[[], object]) -> None:
        """Call `then`, which must not raise, when the acknowledgement of a delivery is `sent`.

        Or when this is closed: then it never will be. At once where either is so already.

        Args:
            turn: of a delivery of this window; only one waits for each.
            then: called once.
        """
        if turn in self._pending:
            self._awaited[turn] = then
        elif self._taken:
            self._leaving.append(then)
        else:
            then()

    def close(self) -> None:
        """The link is gone: what was owed on it is owed no more."""
        self.unsent |= frozenset(each.number & 0xFFFF for each in self._pending)
        self.ready = self._taken = False
        self._pending.clear()
        self._on_ready = _nobody  # or it holds the link, which may be kept no longer
        self._leaving.extend(self._awaited.values())
        self._awaited.clear()
        self._tell_left()
