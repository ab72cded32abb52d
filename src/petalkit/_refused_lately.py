"""Commands that were answered "not now": for the broker's own second delivery of one of them.

A caller that sends a refused command again is judged anew. When only the acknowledgement was lost,
with a link, the broker delivers the same message again, and nobody has asked for that: to run it
then would be a second outcome of a command that has its answer.
"""

from __future__ import annotations

from collections import OrderedDict

from .transports import Delivery

REMEMBERED = 1000  # of them; far more than a broker has unacknowledged on a link


class RefusedLately:
    """See the module."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def note(self, message_id: str | None) -> None:
        """One was refused; its answer is on its way, if it wants one."""
        if message_id is not None:
            self._ids[message_id] = None
            self._ids.move_to_end(message_id)
            if len(self._ids) > REMEMBERED:
                self._ids.popitem(last=False)

    def is_again(self, message_id: str | None, delivery: Delivery) -> bool:
        """Whether the broker delivers one of them for a second time (MQTT 5.0, section 3.3.1.1)."""
        return delivery.dup and message_id in self._ids
