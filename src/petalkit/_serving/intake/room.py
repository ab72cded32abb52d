"""Room for one more command: in the channel, in the ledger, and for its answers in the outbox."""

from __future__ import annotations

from ..._authoring.registry import CommandSpec
from ..._values.request import wants_usual
from ..._values.settings.settings import Settings
from ..dispatch.execution import Execution
from ..dispatch.queueing import queue
from ..ledger.contract import Ledger
from ..ledger.remembered.replay_window import SpareForFew
from ..sending.outbox import Outbox
from .backlog.contract import Backlog
from .parked import PACKET_IDS, ParkedLines
from .refusals import Request


class Room:
    """See the module.

    Args:
        settings: bounds.
        channel: of commands that are accepted and have not started.
        ledger: has to put them down.
        backlog: those in it stand before what comes.
        outbox: has the places of answers.

    Attributes:
        may_be_crowded: whether `is_crowded` is worth a call.
    """

    def __init__(
        self,
        settings: Settings,
        channel: queue.Backlog,
        ledger: Ledger[Execution],
        backlog: Backlog,
        outbox: Outbox,
    ) -> None:
        self._bytes = settings.channel_bytes
        self._channel = channel
        self._ledger = ledger
        self._backlog = backlog
        self._reserve = outbox.reserve
        self.may_be_crowded = True
        window, count = settings.replay_window, settings.replay_count
        self._spare = SpareForFew(window, count, settings.callers_max)

    def expect(self, coming: int) -> None:
        """No more than so many are accepted before this is called again."""
        self.may_be_crowded = self._ledger.may_be_crowded(coming)

    def is_crowded(self, request: Request, spec: CommandSpec, now: float) -> bool:
        """See `Ledger.is_crowded`; a caller who has sent little is not refused for the others."""
        command = request.command
        if not self._ledger.is_crowded(spec, command.message_id, now):
            return False
        if not self._ledger.has_room:
            return True
        return not self._spare.take(
            self._channel.callers.of(command.topic, command.properties), now
        )

    def is_behind(self, request: Request, spec: CommandSpec) -> bool:
        """Whether others of its petal wait in the backlog, which are first.

        Not for what cannot wait there, and not for a caller who has nothing there, where the others
        have much.
        """
        backlog = self._backlog
        return (
            backlog.count > 0
            and backlog.is_before(spec.petal, request.command)
            and self._ledger.takes(spec)
        )

    def take(self, request: Request, spec: CommandSpec) -> bool:
        """Whether a command can be accepted now; then the places of its answers are reserved."""
        ledger = self._ledger
        if ledger.keeps_waiting and self.is_behind(request, spec):
            return False
        if (self._channel.is_full(spec.petal) or not ledger.has_room) and not self._may_exceed(
            request, spec
        ):
            return False
        command, wishes = request.command, request.wishes
        if wishes is None and not request.wait_ack:
            return not command.wait_response or self._reserve()
        reply = wishes is not None and wishes.reply is not None
        places = reply + request.wait_ack + wants_usual(command, wishes)
        return not places or self._reserve(places)

    def _may_exceed(self, request: Request, spec: CommandSpec) -> bool:
        """Whether one more can be accepted though channel or ledger have no room for all."""
        if not self._ledger.takes(spec):
            # What cannot wait in the backlog has a reserve, or one slow petal would stop others.
            return not self._channel.is_over_reserve(spec.petal)
        return self._ledger.has_room and self._channel.has_spare_room(spec, request.command)

    def is_used_up(self, parked: ParkedLines) -> bool:
        """Whether reading had to go on although the reserve is full, and cannot for ever.

        The answer that is waited for may stand behind all that the broker has sent already, and its
        window is no bound: mosquitto 2.0 sends thousands while PUBACKs flow.
        """
        return len(parked) >= PACKET_IDS or parked.size >= self._bytes
