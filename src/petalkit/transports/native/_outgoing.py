"""What a link has to write: packets of its session, and the fate of those that are never answered.

The rules: nothing is written when it is handed over, but at the next flush, in one piece with all
that came meanwhile; and who published is never told inside `publish`. Of a longer batch the keep
alive hears after each piece that it moves.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from ..._values.errors import RejectedByBroker, TransportError
from ..._values.messages import Message
from .._base_link import OUTGOING_BYTES
from .._contract import OnDone
from .._line.keepalive import KeepAlive
from .._line.send_queue import Outflow, outflow
from .._receiving.violations import PACKET_TOO_LARGE
from ._publishing import WindowFull
from ._session import ClientSession

WRITE_SIZE = 64 * 1024
# A stream without a kernel that can be asked gives no other sign, and a piece must leave within
# half a keep alive.
WRITE_SIZE_UNASKED = 8 * 1024
UNTOLD_MAX = 10_000  # messages whose fate is known and told at the next flush


class Outgoing:
    """The outgoing half of one link.

    Args:
        stream: of the link.
        session: whose packets are written.
        watch: hears what leaves.
        payload_max: bytes; a larger message is refused.
        wake: called whenever there is something to flush.

    Attributes:
        sending: bytes on their way into the stream.
        only_acks: whether nothing but acknowledgements has been written since the last flush.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        session: ClientSession,
        watch: KeepAlive,
        payload_max: int,
        wake: Callable[[], None],
    ) -> None:
        self._stream = stream
        self._session = session
        self._written = session.outgoing
        self._watch = watch
        self._payload_max = payload_max
        self._wake = wake
        self._piece = WRITE_SIZE if self.outflow() else WRITE_SIZE_UNASKED
        self._ping_waits = False  # for the next flush
        self._soon: list[tuple[OnDone, TransportError | None]] = []  # to be told at the next
        self.sending = 0
        self.only_acks = True

    @property
    def unsent(self) -> int:
        """Bytes that were written and that the kernel has not taken."""
        return self._session.unsent + self.sending

    def outflow(self) -> Outflow | None:
        """Ask the kernel what has left; None where it cannot be asked."""
        return outflow(self._stream)

    def pending(self) -> bool:
        """Whether a flush has anything to do."""
        return bool(self._session.wants_to_send or self._soon)

    # -- handing over

    def is_stuffed(self) -> bool:
        """Whether so much waits for the writer that not even QoS 0 may be added."""
        unsent = len(self._written) + self.sending
        return unsent >= OUTGOING_BYTES or len(self._soon) >= UNTOLD_MAX

    def publish(self, message: Message, on_done: OnDone) -> None:
        """Take one; see `Link.publish_nowait`."""
        if self.is_stuffed():
            raise trio.WouldBlock
        size = len(message.payload)
        try:
            if size > self._payload_max:
                text = f"Packet too large ({size} bytes of payload)"
                raise RejectedByBroker(PACKET_TOO_LARGE, text)
            self._session.publish(message, on_done)
        except WindowFull:
            raise trio.WouldBlock from None
        except RejectedByBroker as error:
            self._soon.append((on_done, error))
        else:
            if not message.qos:
                self._soon.append((on_done, None))
        self.only_acks = False
        self._wake()

    def ping(self) -> None:
        """Write a PINGREQ."""
        self._session.ping()
        self._ping_waits = True
        self._wake()

    # -- writing

    def flush(self) -> bytes:
        """Everything that is to be sent now; who may not be told inside `publish` is told."""
        self.only_acks = True
        self._ping_waits = False
        if self._soon:
            for on_done, error in self.take_untold():
                on_done(error)
        return self._session.data_to_send()

    async def send(self, data: bytes) -> None:
        """Send it, in pieces. Has no limit: the keep alive judges what does not move.

        Raises:
            trio.BrokenResourceError, trio.ClosedResourceError: the stream is broken.
        """
        self.sending = len(data)
        rest = memoryview(data)
        piece = self._piece
        while len(rest) > piece:
            await self._stream.send_all(rest[:piece])
            rest = rest[piece:]
            self.sending = len(rest)
            self._watch.sent(trio.current_time(), more=True)
        await self._stream.send_all(rest)
        self.sending = 0  # not if that failed: then it may have been cut in a packet
        self._watch.sent(trio.current_time(), more=self._ping_waits)

    def take_untold(self) -> list[tuple[OnDone, TransportError | None]]:
        """Whose fate is known and not told, with its error; they are forgotten here."""
        soon, self._soon = self._soon, []
        return soon
