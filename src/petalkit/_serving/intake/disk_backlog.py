"""Commands that wait on disk only: accepted and acknowledged, and too many for the channel.

So reading goes on behind a petal that is slow, and urgent commands get through. They are taken up
in their order as room comes; what an earlier run has left is taken up the same way. Only their
`messageId`s are in memory.
"""

from __future__ import annotations

import functools
import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any

import attrs
import msgspec
import trio

from ..._authoring.registry import CommandSpec
from ..._values.codec import InvalidEnvelope
from ..._values.errors import ErrorCode
from ..._values.messages import Command, Identity
from ..._values.request import REPLIES_MAX, Wishes, wants_usual
from ..._values.settings.settings import Settings
from ..dispatch.dispatcher import Dispatcher
from ..dispatch.execution import Execution, without_data
from ..dispatch.execution import logger as commands_logger
from ..ledger.journal.forms import (
    as_accepted,
    command_extras,
    command_of,
    expiry_of,
    extras_replies,
    identity_of,
    was_guessed,
)
from ..ledger.journal.records import NOT_STARTED, Accepted, CommandRecord, JournalError, Wanted
from ..ledger.journal.write_ahead import Journal
from .backlog import Backlog, Waiting
from .parked import limits_of
from .recovery import Recovery
from .refusals import Request

logger = logging.getLogger("petalkit.journal")

READ_AT_ONCE = 64  # commands read from disk by one query
TAKEN_UP_AT_ONCE = 128  # in one step of the event loop
IDENTITIES_MAX = 16  # that were left and are remembered


@attrs.frozen
class _Ending:
    """Why a command is not started."""

    code: ErrorCode
    text: str
    details: Mapping[str, Any] | None = None


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
        self._recovery = recovery
        self._catalog = recovery.catalog
        self._outbox = recovery.responses.outbox
        self._journal = journal
        self._identity = identity
        self.count = 0
        self._taken_to = 0  # the number of the last one that was taken up
        self._read: deque[CommandRecord] = deque()  # the next ones
        self._unwritten: dict[int, tuple[Accepted, Request]] = {}  # by number
        self._wanted: dict[int, Wanted] = {}  # what copies have added, by number
        self._wishes: dict[int, Wishes] = {}  # of those that came in this run, by number
        self._ended: deque[tuple[str, str]] = deque(maxlen=IDENTITIES_MAX)
        self._refilling = False
        self._readable = True

    @property
    def has_room(self) -> bool:
        """Whether one more may wait here."""
        return self.count < self._settings.journal_backlog and self._journal.has_room

    # -- in

    def restore(self, count: int) -> None:
        """So many wait here since an earlier run, as soon as all is written that was put down.

        Before that, one that is put back to be started again would be missed.
        """
        self.count += count
        self._readable = False
        self._journal.when_written(self._can_be_read)

    def _can_be_read(self) -> None:
        self._readable = True

    def add(self, request: Request, *, guessed: bool) -> None:
        """Let a command wait here. It is acknowledged when it is on disk.

        Args:
            request: it.
            guessed: whether its petal is only guessed to serve it.
        """
        command, wishes = request.command, request.wishes
        number = self._journal.next_number()
        if not self.count:
            self._taken_to = number - 1
        self.count += 1
        wall = self._journal.wall()
        accepted = as_accepted(
            number,
            command,
            request.delivery.payload,
            request.identity,
            wait_response=wants_usual(command, wishes),
            replies=() if wishes is None or wishes.reply is None else (wishes.reply,),
            guessed=guessed,
            expires_at=expiry_of(wishes, wall, trio.current_time()),
            at=wall,
        )
        if wishes is not None:
            # On disk its expiry is a moment of a wall clock, which may be set meanwhile.
            self._wishes[number] = attrs.evolve(wishes, reply=None)
        request.command = without_data(command)  # its bytes are in the other
        self._unwritten[number] = (accepted, request)
        self._journal.add(accepted, functools.partial(self._written, number))

    def _written(self, number: int) -> None:
        unwritten = self._unwritten.pop(number, None)
        if unwritten is not None:
            unwritten[1].delivery.ack()

    def take_back(self, numbers: Collection[int]) -> list[Request]:
        """The journal fails: give back those of them that are not on disk."""
        meant = [number for number in self._unwritten if number in numbers]
        self.count -= len(meant)
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
        self._journal.acknowledge(request.delivery)
        return True

    def want(self, number: int, wait_response: bool, extras: bytes | None) -> Wanted:
        """Put down where else a command that is not finished is to be answered."""
        wanted = Wanted(number, wait_response, extras)
        self._journal.add(wanted)
        return wanted

    # -- out

    def end_identity(self, identity: Identity) -> None:
        """The device is another now, and has waited long enough."""
        self._ended.append((identity.organization_id, identity.device_id))

    def refill(self) -> None:
        """Take up what there is room for, some of it now and the rest in a moment."""
        if self._refilling:  # what is taken up here may make room, which is told here
            return
        self._refilling = True
        try:
            for _ in range(TAKEN_UP_AT_ONCE):
                if not self.count or self._dispatcher.backlog.is_full or not self._take_up_next():
                    return
            self._journal.look_again(at_once=True)
        except JournalError as error:
            logger.error("%s; tried again in a while", error)
            self._journal.look_again()
        finally:
            self._refilling = False

    def _take_up_next(self) -> bool:
        identity = self._identity()
        if identity is None or not self._readable:
            return False
        if not self._read:
            self._read.extend(self._journal.not_started(self._taken_to, READ_AT_ONCE))
        if not self._read:
            return False  # they are not on disk yet
        record = self._read[0]
        wanted = self._wanted.get(record.number)
        if wanted is not None:
            record = attrs.evolve(record, wait_response=wanted.wait_response, extras=wanted.extras)
        if not self._take_up(record, identity):
            return False
        self._read.popleft()
        self._wanted.pop(record.number, None)
        self._wishes.pop(record.number, None)
        self._taken_to = record.number
        self.count -= 1
        return True

    def _take_up(self, record: CommandRecord, current: Identity) -> bool:
        """Take one up, or end it; False when there is no place for its answers."""
        replies = self._recovery.replies(record)
        places = int(record.wait_response) + len(replies)
        if places and not self._outbox.reserve(places):
            return False
        try:
            found = self._judge(record, current)
        except Exception:  # a petal's own code may be asked; and a disk may have changed a byte
            logger.exception("a command of the journal cannot be taken up")
            found = _Ending(ErrorCode.UNAVAILABLE, "what the journal has of it cannot be used")
        if isinstance(found, _Ending):
            self._recovery.end(record, found.code, found.text, details=found.details, reserved=True)
            return True
        command, spec, identity = found
        execution = Execution(
            command,
            record.payload,
            spec,
            identity,
            identity.topic(self._settings.response_topic),
            trio.current_time(),
            trio.lowlevel.current_clock(),
            wait_response=record.wait_response,
            logged=commands_logger.isEnabledFor(logging.INFO),
            replies=replies,
            number=record.number,
            recorded=True,
            on_disk=True,
            # A start that nobody waited for may be missing in what an earlier run has left.
            restarted=record.starts > 0 or record.number <= self._journal.earlier_to,
        )
        execution.wishes = self._wishes.get(record.number)
        if execution.wishes is None and record.expires_at is not None:
            needs_clock = self._needs_clock(record, spec)
            execution.wishes = Wishes(expires_at=record.expires_at, needs_clock=needs_clock)
        self._dispatcher.take_up(execution)
        return True

    def _judge(
        self, record: CommandRecord, current: Identity
    ) -> tuple[Command, CommandSpec, Identity] | _Ending:
        """What it is, who serves it, and for whom it came; or why it is not started."""
        whose = record.organization_id, record.device_id
        if whose != (current.organization_id, current.device_id) and (
            whose in self._ended or record.number <= self._journal.earlier_to
        ):
            text = f"the device left organization {record.organization_id!r}"
            return _Ending(ErrorCode.CANCELLED, text)
        try:
            command = command_of(record, self._limits)
        except InvalidEnvelope as error:
            return _Ending(error.code, error.message)
        spec = self._catalog.table.lookup(command.command)
        if spec is None:
            name = command.command
            details = self._catalog.details(name)
            return _Ending(ErrorCode.UNKNOWN_COMMAND, self._catalog.text(name), details)
        return command, spec, identity_of(record)

    def _needs_clock(self, record: CommandRecord, spec: CommandSpec) -> bool:
        """Whether one that can expire is not to be run while the device's clock is not set.

        Not one that an earlier run has left: nobody knows how long the power was off.
        """
        is_left = record.number <= self._journal.earlier_to
        return not spec.urgent and (is_left or self._settings.clock_unset == "refuse")
