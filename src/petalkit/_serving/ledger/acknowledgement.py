"""When a delivery is acknowledged to the broker.

This module decides it for what is accepted. What is refused is acknowledged where that is said,
and what may have been delivered before, before its handler is called (`dispatch/redelivered.py`).

| what came | `acknowledge="accepted"` | `"handled"` | the session is about to end |
|---|---|---|---|
| a first, kept by the ledger | when its acceptance is safe | with its answer | as "accepted" |
| a first, in memory only | at once | with its answer | at once |
| a copy of one that waits or runs | when all it wants is safe | with the first | as "accepted" |
| a copy of one that is finished | when all it wants is safe | the same | the same |
| what waits in the ledger only | when its acceptance is safe | not possible | as "accepted" |
| what is parked | not at all: it comes again | not at all | at once: it would not |
| a first that may have been delivered before | before it is called | the same | the same |
| what is refused | when its answer has a place (`held_refusals`) | the same | at once |

While the ledger fails, nobody waits for it. QoS 0 has no acknowledgement for the broker to wait
for, and is only told to transports that answer each message. The trap: acknowledgements leave in
the order in which the messages came (MQTT 5.0, section 4.6), so one that is withheld holds up all
behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from ..._values.settings.settings import Settings
from ...transports import Delivery


class Owing(Protocol):
    """A command, and what brought it and waits for its acknowledgement; `Execution` has it."""

    deliveries: Sequence[Delivery]
    recorded: bool
    on_disk: bool
    finished: bool


class Acknowledgements:
    """See the module.

    Args:
        settings: with `acknowledge`.
        when_safe: acknowledges a delivery when all that was put down is safe; see
            `Ledger.acknowledge`.

    Attributes:
        at_once: whether nobody waits for the answer: it is set so, or the session is about to end.
        session_kept: whether what is left unacknowledged comes again, as far as is known.
    """

    def __init__(self, settings: Settings, when_safe: Callable[[Delivery], None]) -> None:
        self._when_accepted = settings.acknowledge == "accepted"
        self._when_safe = when_safe
        self._ends = False
        self.at_once = self._when_accepted
        self.session_kept = settings.keeps_session  # until a link tells better

    def session_begins(self, *, kept: bool) -> None:
        """There is a link.

        Args:
            kept: whether what is not acknowledged on it comes again on the next.
        """
        self._ends = False
        self.at_once = self._when_accepted
        self.session_kept = kept

    def session_ends(self) -> None:
        """What this link has delivered will not come again: it is ours alone."""
        self._ends = self.at_once = True
        self.session_kept = False

    def comes_again(self, delivery: Delivery) -> bool:
        """Whether the session delivers it again if it is not acknowledged."""
        return delivery.qos > 0 and self.session_kept

    def owe(self, command: Owing, delivery: Delivery) -> None:
        """A delivery has brought a command, which was given to the ledger."""
        if self.at_once and (command.on_disk or not command.recorded):
            delivery.ack()
        elif delivery.qos:
            command.deliveries = (*command.deliveries, delivery)

    def owe_copy(self, first: Owing, delivery: Delivery) -> None:
        """A delivery has brought a copy, which has joined its first."""
        if first.recorded and (self.at_once or first.finished):
            self._when_safe(delivery)
        else:
            self.owe(first, delivery)

    def owe_again(self, delivery: Delivery) -> None:
        """A delivery has brought a copy of a command that is finished.

        What is sent again for it was put down before: the delivery is due when that is safe.
        """
        self._when_safe(delivery)

    def owe_parked(self, delivery: Delivery) -> None:
        """A delivery has brought a command that is parked, or whose refusal is held."""
        if self._ends:  # or the broker's window stays shut, and the rest never comes
            delivery.ack()

    def accepted(self, command: Owing) -> None:
        """The acceptance of a command is safe."""
        if self.at_once and command.deliveries:
            self.settle(command)

    def unrecorded(self, command: Owing) -> None:
        """The ledger fails, and a command goes on without it."""
        if self.at_once:
            self.settle(command)

    @staticmethod
    def settle(command: Owing) -> None:
        """A command has its answer, or nobody is to wait for it: all its deliveries are due."""
        for delivery in command.deliveries:
            delivery.ack()
        command.deliveries = ()

    def settle_all(self, commands: Iterable[Owing]) -> None:
        """The same of many."""
        for command in commands:
            self.settle(command)
