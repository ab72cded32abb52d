"""Commands that were answered "not now": for the broker's own second delivery of one of them.

A caller that sends a refused command again is judged anew. When only the acknowledgement was lost,
with a link, the broker delivers the same message again, and nobody has asked for that: to run it
then would be a second outcome of a command that has its answer.

The trap: DUP says that the broker has sent it before, not that it came. A caller's second try may
carry it too, when its link was lost on the way. So the bytes have to be the same.
"""

from __future__ import annotations

from collections import OrderedDict

from .transports import Delivery

REMEMBERED = 1000  # of them; far more than a broker has unacknowledged on a link


class RefusedLately:
    """See the module."""

    def __init__(self) -> None:
        self._messages: OrderedDict[tuple[str, int], None] = OrderedDict()

    def note(self, message_id: str | None, payload: bytes) -> None:
        """One was refused; its answer is on its way, if it wants one."""
        if message_id is not None:
            key = message_id, hash(payload)  # not the bytes, which may be many
            self._messages[key] = None
            self._messages.move_to_end(key)
            if len(self._messages) > REMEMBERED:
                self._messages.popitem(last=False)

    def is_again(self, message_id: str | None, delivery: Delivery) -> bool:
        """Whether the broker delivers one of them for a second time (MQTT 5.0, section 3.3.1.1)."""
        return (
            delivery.dup
            and message_id is not None
            and (message_id, hash(delivery.payload)) in self._messages
        )
