"""When a delivery is acknowledged to the broker, and after what.

The rule stands here and nowhere else: nobody else who serves calls `Delivery.ack`.
Each row of the table is a method of `Acknowledgements`; whoever has such a case calls it.

| what came | method | `acknowledge="accepted"` | `"handled"` | the session is about to end |
|---|---|---|---|---|
| a first, kept by the ledger | `owe` | when that is safe | with its answer | as "accepted" |
| a first, in memory only | `owe` | at once | with its answer | at once |
| a copy of what waits or runs | `owe_copy` | when its wants are safe | with it | as "accepted" |
| a copy of what is finished | `owe_again` | when its wants are safe | the same | the same |
| what waits in the ledger only | `kept` | when that is safe | not possible | as "accepted" |
| a copy of that | `owe_again` | when its wants are safe | the same | the same |
| a copy of what an earlier process left | `copy_of_left` | at once | the same | the same |
| what is parked | `owe_parked` | not at all: it comes again | the same | at once |
| a copy of what is parked | `copy_of_parked` | at once, if that comes again | the same | at once |
| what may have been here before | `before_call` | before it is called | the same | the same |
| what is given back unstarted | `given_back` | if the ledger has it | the same | at once |
| what is refused | `refused` | when its answer has a place | the same | at once |
| what is no command of this device | `refused` | at once | the same | the same |

While the ledger fails, nobody waits for it. QoS 0 has no acknowledgement for the broker to wait
for, and is only told to transports that answer each message. The trap: acknowledgements leave in
the order in which the messages came (MQTT 5.0, section 4.6), so one that is withheld holds up all
behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeAlias

from ..._values.settings.settings import Settings
from ...transports import Delivery, WithdrawableDelivery


class Owing(Protocol):
    """A command, and what brought it and waits for its acknowledgement; `Execution` has it."""

    deliveries: Sequence[Delivery]
    recorded: bool
    on_disk: bool
    finished: bool


WhenSafe: TypeAlias = Callable[[Callable[[], object]], object]


class Acknowledgements:
    """See the module.

    Args:
        settings: with `acknowledge`.
        when_safe: calls a function when all that was put down is safe, or the ledger fails; see
            `Ledger.when_safe_or_failing`.

    Attributes:
        at_once: whether nobody waits for the answer: it is set so, or the session is about to end.
        session_kept: whether what is left unacknowledged comes again, as far as is known.
    """

    def __init__(self, settings: Settings, when_safe: WhenSafe) -> None:
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
            self._when_safe(delivery.ack)
        else:
            self.owe(first, delivery)

    def owe_again(self, delivery: Delivery) -> None:
        """A delivery has brought a copy of a command that is finished, or waits in the ledger only.

        What is sent again for it, and what it wants beside, was put down before: the delivery is
        due when that is safe.
        """
        self._when_safe(delivery.ack)

    def owe_parked(self, delivery: Delivery) -> None:
        """A delivery has brought a command that is parked, or whose refusal is held."""
        if self._ends:  # or the broker's window stays shut, and the rest never comes
            delivery.ack()

    def copy_of_parked(self, first: Delivery, copy: Delivery, *, comes_again: bool) -> Delivery:
        """A delivery has brought a copy of a command that is parked: one of them is enough.

        One that comes again stays unacknowledged, or the command could be lost with the process.

        Args:
            first: which brought the command.
            copy: which brought it again.
            comes_again: whether the first does.

        Returns:
            The one of both that is owed from now on, if any.
        """
        if isinstance(first, WithdrawableDelivery):
            # It could be taken back, although the sender is told here that it came.
            first.ack()
        elif not comes_again and self.comes_again(copy):
            first.ack()
            return copy
        copy.ack()
        return first

    @staticmethod
    def copy_of_left(delivery: Delivery) -> None:
        """A delivery has brought a copy of what an earlier process left, and wants no more."""
        delivery.ack()

    @staticmethod
    def kept(delivery: Delivery) -> None:
        """What a delivery has brought waits in the ledger only, and is safe there."""
        delivery.ack()

    @staticmethod
    def before_call(delivery: Delivery) -> None:
        """What a delivery has brought may have killed the process before, and is to be called.

        Also with `"handled"`: nothing else would bound how often it comes.
        """
        delivery.ack()

    @staticmethod
    def refused(delivery: Delivery) -> None:
        """What a delivery has brought is not run, and what is said of that has its place."""
        delivery.ack()

    def accepted(self, command: Owing) -> None:
        """The acceptance of a command is safe."""
        if self.at_once and command.deliveries:
            self.settle(command)

    def unrecorded(self, command: Owing) -> None:
        """The ledger fails, and a command goes on without it."""
        if self.at_once:
            self.settle(command)

    def given_back(self, command: Owing) -> None:
        """A command that has not started is the ledger's to bring again, or else the broker's."""
        if command.on_disk:  # not of both, or it is run twice
            self.settle(command)

    def come_no_more(self, commands: Iterable[Owing], deliveries: Iterable[Delivery]) -> None:
        """Nothing of these comes again, and so nobody is to wait for an acknowledgement.

        Args:
            commands: accepted; what is not safe yet is acknowledged when it is.
            deliveries: of what is not accepted.
        """
        for command in commands:
            if command.on_disk or not command.recorded:
                self.settle(command)
        for delivery in deliveries:
            delivery.ack()

    @staticmethod
    def settle(command: Owing) -> None:
        """A command has its answer, or nobody is to wait for it: all its deliveries are due."""
        for delivery in command.deliveries:
            delivery.ack()
        command.deliveries = ()
