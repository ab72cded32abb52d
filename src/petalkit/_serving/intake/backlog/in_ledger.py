"""Commands that wait in the ledger only: accepted and acknowledged, too many for the channel.

So reading goes on behind a petal that is slow, and urgent commands get through. They are taken up
in the order of their petal, as room comes for it; what an earlier run has left is taken up the same
way, before. Only their numbers and `messageId`s are in memory.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Collection, Hashable, Mapping

import attrs
import msgspec

from ...._authoring.registry import CommandSpec
from ...._values.errors import ErrorCode
from ...._values.messages import Command, Identity
from ...._values.request import REPLIES_MAX, Reply, Wishes, wants_usual
from ...._values.settings.settings import Settings
from ...dispatch.dispatcher import Dispatcher
from ...dispatch.execution import Execution, without_data
from ...ledger.contract import Ledger
from ...ledger.entry import Left
from ...ledger.forms import command_extras, extras_properties, extras_replies, was_guessed
from ...ledger.records import NOT_STARTED, CommandRecord, JournalError
from ..recovery import Recovery
from ..refusals import Request
from .contract import Backlog, Waiting
from .lanes import Lanes
from .taking_up import TakingUp

logger = logging.getLogger("petalkit.journal")

TAKEN_UP_AT_ONCE = 128  # in one step of the event loop


class _Kept(msgspec.Struct, eq=False):
    """One that is accepted, and not safe yet: as `Entry`, with the request that it came as."""

    request: Request
    command: Command
    payload: bytes
    identity: Identity
    spec: CommandSpec
    wait_response: bool
    replies: tuple[Reply, ...]
    wishes: Wishes | None
    number: int = 0
    recorded: bool = False
    on_disk: bool = False
    owed: Mapping[Reply | None, int] | None = None

    @classmethod
    def of(cls, request: Request, spec: CommandSpec) -> _Kept:
        """A request that is to wait."""
        command, wishes = request.command, request.wishes
        return cls(
            request,
            command,
            request.delivery.payload,
            request.identity,
            spec,
            wants_usual(command, wishes),
            () if wishes is None or wishes.reply is None else (wishes.reply,),
            wishes,
        )

    @property
    def waiting(self) -> Waiting:
        """What its record will be."""
        extras = command_extras(self.command.properties, self.replies, guessed=self.spec.guessed)
        return Waiting(self.number, self.command.command, self.payload, self.wait_response, extras)


class LedgerBacklog(Backlog):
    """See the module, and `Backlog`.

    Args:
        settings: bounds and topics.
        dispatcher: takes commands up.
        recovery: ends those that cannot be taken up.
        ledger: where they wait.
        identity: who the device is now; until that is known nothing is taken up.
    """

    def __init__(
        self,
        settings: Settings,
        dispatcher: Dispatcher,
        recovery: Recovery,
        ledger: Ledger[Execution],
        identity: Callable[[], Identity | None],
    ) -> None:
        self._settings = settings
        self._dispatcher = dispatcher
        self._acknowledgements = dispatcher.acknowledgements
        self._counters = recovery.responses.counters
        self._table = recovery.catalog.table
        self._recovery = recovery
        self._taking_up = TakingUp(settings, dispatcher, recovery, ledger)
        self._ledger = ledger
        self._identity = identity
        self._callers = dispatcher.backlog.callers
        self._lanes = Lanes(ledger, self._place_of, self._callers.most)
        self._unwritten: dict[int, _Kept] = {}  # not safe yet, by number
        self._wanted: dict[int, Waiting] = {}  # with what copies have added, by number
        self._wishes: dict[int, Wishes] = {}  # of those that came in this run, by number
        self._refilling = False
        self._readable = True

    @property
    def count(self) -> int:
        """How many wait."""
        return self._lanes.count

    def has_room(self, petal: str) -> bool:
        """See `Backlog`."""
        return (
            self.count < self._settings.journal_backlog
            and self._lanes.waiting(petal) < self._dispatcher.backlog.shares.most_on_disk
            and self._ledger.has_room
        )

    def is_before(self, petal: str, command: Command) -> bool:
        """See `Backlog`."""
        caller = self._callers.of(command.topic, command.properties)
        return not self._lanes.may_be_passed(petal, caller)

    # -- in

    def restore(self, count: int) -> None:
        """So many wait here since an earlier run, as soon as all is written that was put down.

        Before that, one that is put back to be started again would be missed.
        """
        self._lanes.restore(count)
        self._readable = False
        self._ledger.when_safe(self._can_be_read)

    def _can_be_read(self) -> None:
        self._readable = True

    def add(self, request: Request, spec: CommandSpec) -> None:
        """See `Backlog`. It is acknowledged, and counted, when it is safe: else it is refused."""
        command, wishes = request.command, request.wishes
        request.command = without_data(command)  # its bytes are in the record
        kept = _Kept.of(request, spec)
        self._ledger.keep(kept, functools.partial(self._written, kept))
        caller = self._callers.of(command.topic, command.properties)
        self._lanes.add(kept.number, spec.petal, caller)
        if wishes is not None:
            # In its record the expiry is a moment of a wall clock, which may be set meanwhile.
            self._wishes[kept.number] = attrs.evolve(wishes, reply=None)
        if not kept.on_disk:
            self._unwritten[kept.number] = kept

    def _written(self, kept: _Kept) -> None:
        if kept.recorded:  # it has not been taken back
            kept.on_disk = True
            self._unwritten.pop(kept.number, None)
            self._counters.accepted += 1
            self._acknowledgements.kept(kept.request.delivery)

    def take_back(self, numbers: Collection[int]) -> list[Request]:
        """The ledger fails: give back those of them that are not safe."""
        meant = [number for number in self._unwritten if number in numbers]
        self._lanes.remove(set(meant))
        requests: list[Request] = []
        for number in meant:
            kept = self._unwritten.pop(number)
            kept.recorded = False
            request = kept.request
            self._wishes.pop(number, None)
            wanted = self._wanted.pop(number, None)
            if wanted is not None and wanted.wait_response:
                request.command = msgspec.structs.replace(request.command, wait_response=True)
            requests.append(request)
        return requests

    # -- copies

    def find(self, left: Left) -> Waiting | None:
        """See `Backlog`."""
        if not self.count:
            return None
        kept, record = self._unwritten.get(left.number), left.record
        if kept is not None:
            found = kept.waiting
        elif record is not None and record.state == NOT_STARTED:
            found = Waiting(
                record.number, record.command, record.payload, record.wait_response, record.extras
            )
        else:
            return None
        return self._wanted.get(found.number, found)

    def join(self, waiting: Waiting, request: Request) -> bool:
        """See `Backlog`."""
        wishes, before = request.wishes, extras_replies(waiting.extras)
        replies = before
        if wishes is not None and wishes.reply is not None and wishes.reply not in replies:
            replies = (*replies, wishes.reply)
        usual = waiting.wait_response or wants_usual(request.command, wishes)
        if len(replies) > REPLIES_MAX:
            return False
        if (usual, len(replies)) != (waiting.wait_response, len(before)):
            properties = extras_properties(waiting.extras)
            extras = command_extras(properties, replies, guessed=was_guessed(waiting.extras))
            self._wanted[waiting.number] = attrs.evolve(waiting, wait_response=usual, extras=extras)
            self._ledger.want_of_kept(waiting.number, usual, extras)
        return True

    # -- out

    def cancel(self, left: Left, code: ErrorCode, text: str) -> bool:
        """See `Backlog`."""
        record, number = left.record, left.number
        if record is None or number in self._unwritten:
            return False
        self._lanes.remove({number})
        self._wishes.pop(number, None)
        self._recovery.end(self._as_wanted(record), code, text)
        self._wanted.pop(number, None)
        self._ledger.look_again(at_once=True)
        return True

    def end_identity(self, identity: Identity) -> None:
        """The device is another now, and has waited long enough."""
        self._taking_up.end_identity(identity)

    def refill(self) -> None:
        """Take up what there is room for, some of it now and the rest in a moment."""
        if self._refilling:  # what is taken up here may make room, which is told here
            return
        self._refilling = True
        try:
            identity = self._identity()
            if identity is None or not self._readable or not self.count:
                return
            self._lanes.sort_some()
            if self._take_up_some(identity) or self._lanes.unsorted:
                self._ledger.look_again(at_once=True)
        except JournalError as error:
            logger.error("%s; tried again in a while", error)
            self._ledger.look_again()
        finally:
            self._refilling = False

    def _take_up_some(self, identity: Identity) -> bool:
        """Take up what there is room for, of each petal in turn; whether more could be."""
        left = TAKEN_UP_AT_ONCE
        petals = self._lanes.petals()
        while petals:
            for petal in list(petals):
                if not left:
                    return True
                if self._has_place(petal) and self._take_up_next(petal, identity):
                    left -= 1
                else:
                    petals.remove(petal)
        return False

    def _has_place(self, petal: str) -> bool:
        # Of those that nobody serves any more there is nothing to wait for.
        queue = self._dispatcher.backlog
        return petal not in queue.petals or not queue.is_full(petal)

    def _take_up_next(self, petal: str, identity: Identity) -> bool:
        record = self._lanes.next(petal, self._unwritten)
        if record is None:
            return False
        number = record.number
        record = self._as_wanted(record)
        if not self._taking_up.take_up(record, identity, self._wishes.get(number)):
            return False
        self._lanes.taken(petal)
        self._wanted.pop(number, None)
        self._wishes.pop(number, None)
        return True

    def _as_wanted(self, record: CommandRecord) -> CommandRecord:
        """With what copies have added."""
        wanted = self._wanted.get(record.number)
        if wanted is None:
            return record
        return attrs.evolve(record, wait_response=wanted.wait_response, extras=wanted.extras)

    def _place_of(self, record: CommandRecord) -> tuple[str, Hashable]:
        """Who serves one that an earlier run has left, and who has sent it.

        Nobody has an empty name.
        """
        try:
            spec = self._table.lookup(record.command)
            caller = self._callers.of(record.topic, extras_properties(record.extras))
        except Exception:  # a petal's own code may be asked; it is again when that is taken up
            return "", None
        return "" if spec is None else spec.petal, caller
