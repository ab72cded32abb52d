"""The broker's end of one link, and the wire between: what was sent and not yet read."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

import attrs
import trio

from ..._values.errors import ConnectionLost
from ..._values.messages import NO_PROPERTIES, Message, Properties
from .._broker.core.session import Session
from .._broker.core.values import End, Packet, Publication, Will

ARRIVED_MAX = 64  # packets that a link holds on its own side; the rest is "in the socket"

# What arrives, and its properties as they were put on the wire.
Arrival: TypeAlias = tuple[Packet, Properties | None]


class Connection:
    """See the module.

    The link hangs its own functions into `on_arrival` (the pipe was empty and is not any more),
    `on_lost` and `on_late` (start a task that runs `deliver_late`). All are called synchronously.

    Args:
        protocol: what it behaves like.
        window: unacknowledged messages, at most.
        unread: QoS 0 messages that the pipe takes beside what is in it.
        delay: by how many seconds what is sent is late.

    Attributes:
        session: whose it is; set once it is connected.
        lost: why it ended, as its client sees it.
    """

    __slots__ = (
        "_delay",
        "_unread",
        "late",
        "late_running",
        "lost",
        "on_arrival",
        "on_late",
        "on_lost",
        "pipe",
        "protocol",
        "session",
        "will",
        "window",
    )
    session: Session

    def __init__(
        self, protocol: str, *, window: int, unread: int, delay: Callable[[], float]
    ) -> None:
        self.protocol = protocol
        self.window = window
        self.will: Will | None = None
        self._unread = unread
        self._delay = delay
        self.pipe: deque[Arrival] = deque()
        self.late: deque[tuple[float, Callable[[], None]]] = deque()
        self.late_running = False
        self.lost: ConnectionLost | None = None
        self.on_arrival: Callable[[], None] = _nothing
        self.on_late: Callable[[], None] = _nothing
        self.on_lost: Callable[[], None] = _nothing

    # -- as the core sees it

    def takes(self, publication: Publication) -> bool:
        """See `Wire`: a pipe takes what the window lets through."""
        del publication
        return True

    def takes_qos_0(self, publication: Publication) -> bool:
        """See `Wire`."""
        del publication
        return len(self.pipe) < self._unread

    def send(self, packet: Packet) -> bool:
        """Put a packet on the wire; with a delay it arrives later, in its order."""
        message: Message = packet.publication.origin
        properties = message.properties
        if properties is not None:
            properties = self._on_the_wire(properties, packet.publication.expires_at)
        if self.late or self._delay() > 0:
            self.later(lambda: self._arrive((packet, properties)))
        else:
            self._arrive((packet, properties))
        return True

    def _on_the_wire(self, properties: Properties, expires_at: float) -> Properties | None:
        # On the wire, properties that say nothing are no properties.
        if self.protocol != "5" or properties == NO_PROPERTIES:
            return None
        if properties.message_expiry is None:
            return properties
        # Whole seconds on the wire, and a broker rounds down.
        left = math.floor(expires_at - trio.current_time())
        return attrs.evolve(properties, message_expiry=left)

    def release(self, packet_id: int) -> None:
        """See `Wire`; no link of this kind asks for QoS 2."""

    def close(self, end: End) -> None:
        """The wire is cut: what had arrived stays readable, what was under way is gone."""
        # Only MQTT 5 has a DISCONNECT of the broker's.
        code = end.reason_code if self.protocol == "5" else None
        self.lost = ConnectionLost(end.text, reason_code=code, closed=code is None)
        self.late.clear()
        while len(self.pipe) > ARRIVED_MAX:
            self.pipe.pop()
        self.on_lost()

    # -- as its link sees it

    def _arrive(self, arrival: Arrival) -> None:
        self.pipe.append(arrival)
        if len(self.pipe) == 1:
            self.on_arrival()

    def later(self, arrive: Callable[[], None]) -> None:
        """Call `arrive` when the broker's delay has passed, after everything sent before."""
        self.late.append((trio.current_time() + self._delay(), arrive))
        if not self.late_running:
            self.late_running = True
            self.on_late()

    async def deliver_late(self) -> None:
        """Let delayed packets arrive, until there are none."""
        try:
            while self.late:
                await trio.sleep_until(self.late[0][0])
                if self.late:  # else they died with the link meanwhile
                    self.late.popleft()[1]()
        finally:
            self.late_running = False


def _nothing() -> None:
    """The default of the callbacks, until the link is there."""
