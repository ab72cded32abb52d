"""Commands that wait on disk only: accepted and acknowledged, and too many for the channel.

So reading goes on behind a petal that is slow, and urgent commands get through. They are taken up
in the order of their petal, as room comes for it; what an earlier run has left is taken up the same
way, before. Only their numbers and `messageId`s are in memory.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Collection, Hashable

import attrs
import msgspec
import trio

from ...._authoring.registry import CommandSpec
from ...._values.messages import Command, Identity
from ...._values.request import REPLIES_MAX, Wishes, wants_usual
from ...._values.settings.settings import Settings
from ...dispatch.dispatcher import Dispatcher
from ...ledger.forms import (
    as_accepted,
    command_extras,
    command_of,
    expiry_of,
    extras_replies,
    properties_of,
    was_guessed,
)
from ...ledger.journal.operations import Wanted
from ...ledger.journal.write_ahead import Journal
from ...ledger.records import NOT_STARTED, Accepted, CommandRecord, JournalError
from ..parked import limits_of
from ..recovery import Recovery
from ..refusals import Request
from .contract import Backlog, Waiting
from .lanes import Lanes
from .taking_up import TakingUp

logger = logging.getLogger("petalkit.journal")

TAKEN_UP_AT_ONCE = 128  # in one step of the event loop


class DiskBacklog(Backlog):
    """See the module, and `Backlog`.

    Args:
        settings: bounds and topics.
        dispatcher: takes commands up.
        recovery: ends those that cannot be taken up.
        journal: where they wait.
        identity: who the device is now; until that is known nothing is taken up.
    """

    def __init__(
        self,
        settings: Settings,
        dispatcher: Dispatcher,
        recovery: Recovery,
        journal: Journal,
        identity: Callable[[], Identity | None],
    ) -> None:
        self._settings = settings
        self._limits = limits_of(settings)
        self._dispatcher = dispatcher
        self._acknowledgements = dispatcher.acknowledgements
        self._table = recovery.catalog.table
        self._taking_up = TakingUp(settings, dispatcher, recovery, journal)
        self._journal = journal
        self._identity = identity
        self._callers = dispatcher.backlog.callers
        self._lanes = Lanes(journal, self._place_of, self._callers.most)
        self._unwritten: dict[int, tuple[Accepted, Request]] = {}  # by number
        self._wanted: dict[int, Wanted] = {}  # what copies have added, by number
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
            and self._journal.has_room
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
        self._journal.when_written(self._can_be_read)

    def _can_be_read(self) -> None:
        self._readable = True

    def add(self, request: Request, spec: CommandSpec) -> None:
        """See `Backlog`. It is acknowledged when it is on disk."""
        command, wishes = request.command, request.wishes
        number = self._journal.next_number()
        caller = self._callers.of(command.topic, command.properties)
        self._lanes.add(number, spec.petal, caller)
        wall = self._journal.wall()
        accepted = as_accepted(
            number,
            command,
            request.delivery.payload,
            request.identity,
            wait_response=wants_usual(command, wishes),
            replies=() if wishes is None or wishes.reply is None else (wishes.reply,),
            guessed=spec.guessed,
            expires_at=expiry_of(wishes, wall, trio.current_time()),
            at=wall,
        )
        if wishes is not None:
            # On disk its expiry is a moment of a wall clock, which may be set meanwhile.
            self._wishes[number] = attrs.evolve(wishes, reply=None)
        self._unwritten[number] = (accepted, request)
        self._journal.add(accepted, functools.partial(self._written, number))

    def _written(self, number: int) -> None:
        unwritten = self._unwritten.pop(number, None)
        if unwritten is not None:
            self._acknowledgements.kept(unwritten[1].delivery)

    def take_back(self, numbers: Collection[int]) -> list[Request]:
        """The journal fails: give back those of them that are not on disk."""
        meant = [number for number in self._unwritten if number in numbers]
        self._lanes.remove(set(meant))
        requests: list[Request] = []
        for number in meant:
            _, request = self._unwritten.pop(number)
            self._wishes.pop(number, None)
            wanted = self._wanted.pop(number, None)
            if wanted is not None and wanted.wait_response:
                request.command = msgspec.structs.replace(request.command, wait_response=True)
            requests.append(request)
        return requests

    # -- copies

    def find(self, message_id: str) -> Accepted | CommandRecord | None:
        """See `Backlog`."""
        number = self._journal.number_of(message_id) if self.count else None
        if number is None:
            return None
        if number in self._unwritten:
            return self._unwritten[number][0]
        record = self._journal.find(message_id)
        return record if record is not None and record.state == NOT_STARTED else None

    def join(self, waiting: Waiting, request: Request) -> bool:
        """See `Backlog`."""
        assert isinstance(waiting, Accepted | CommandRecord)
        wanted = self._wanted.get(waiting.number, waiting)
        replies = extras_replies(wanted.extras)
        wishes = request.wishes
        if wishes is not None and wishes.reply is not None and wishes.reply not in replies:
            replies = (*replies, wishes.reply)
        usual = wanted.wait_response or wants_usual(request.command, wishes)
        if len(replies) > REPLIES_MAX:
            return False
        if (usual, len(replies)) != (wanted.wait_response, len(extras_replies(wanted.extras))):
            properties = command_of(waiting, self._limits).properties
            extras = command_extras(properties, replies, guessed=was_guessed(wanted.extras))
            self._wanted[waiting.number] = self.want(waiting.number, usual, extras)
        return True

    def want(self, number: int, wait_response: bool, extras: bytes | None) -> Wanted:
        """Put down where else a command that is not finished is to be answered."""
        wanted = Wanted(number, wait_response, extras)
        self._journal.add(wanted)
        return wanted

    # -- out

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
                self._journal.look_again(at_once=True)
        except JournalError as error:
            logger.error("%s; tried again in a while", error)
            self._journal.look_again()
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
        wanted = self._wanted.get(number)
        if wanted is not None:
            record = attrs.evolve(record, wait_response=wanted.wait_response, extras=wanted.extras)
        if not self._taking_up.take_up(record, identity, self._wishes.get(number)):
            return False
        self._lanes.taken(petal)
        self._wanted.pop(number, None)
        self._wishes.pop(number, None)
        return True

    def _place_of(self, record: CommandRecord) -> tuple[str, Hashable]:
        """Who serves one that an earlier run has left, and who has sent it.

        Nobody has an empty name.
        """
        try:
            spec = self._table.lookup(record.command)
            caller = self._callers.of(record.topic, properties_of(record))
        except Exception:  # a petal's own code may be asked; it is again when that is taken up
            return "", None
        return "" if spec is None else spec.petal, caller
