"""What all sessions of a broker share: its bounds, its clock, and how much there is of everything.

The rule: the bounds of one client times the number of clients may be more than the machine has, so
what they hold is counted here for all of them together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .bounds import Bounds
from .counters import Counters


class Shared:
    """What all sessions of a broker share.

    Attributes:
        queued_bytes: what waits for all clients together.
        sending_bytes: what is encoded for them, and not taken by their sockets.
        kept_bytes: what sessions keep beside messages: subscriptions, and wills.
        work: steps that were done: clients that a message went to, retained messages looked at,
            filters. By it a client's turn ends.
        on_drop: called with a session and why, for each message of it that is dropped.
    """

    def __init__(self, bounds: Bounds, clock: Callable[[], float]) -> None:
        self.bounds = bounds
        self.clock = clock
        self.counters = Counters()
        self.queued_bytes = 0
        self.sending_bytes = 0
        self.kept_bytes = 0
        self.work = 0
        self.on_drop: Callable[[Any, str], None] = _nothing


def _nothing(_: Any, __: str) -> None:
    """The default of `on_drop`."""
