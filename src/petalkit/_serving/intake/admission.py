"""Admission: what has been judged is accepted, parked, left to wait in the ledger, or refused.

The rule: a command is accepted when the channel, the ledger and the outbox have room for it, and
nothing stands before it that could not be accepted. Else `overflow` says what becomes of it. An
urgent command passes all limits but its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection

import trio

from ..._authoring.registry import CommandSpec
from ..._values.errors import ErrorCode
from ..._values.messages import Identity
from ..._values.request import wants_usual
from ..._values.settings.settings import Settings
from ..dispatch.dispatcher import Dispatcher
from ..dispatch.execution import Execution
from ..ledger.contract import Ledger
from .backlog.contract import Backlog
from .freshness import Freshness
from .parked import Parked, limits_of
from .parking import TOO_MANY, Parking
from .refusals import Refusals, Request
from .room import Room

CANNOT_RECORD = "the device cannot write its journal"


class Admission:
    """See the module.

    Args:
        settings: bounds and rules.
        dispatcher: takes what is accepted.
        ledger: the same, before.
        backlog: what waits there only.
        refusals: says no.

    Attributes:
        freshness: whether a command has come in time.
        room: whether there is any.
        parking: of what was read, and is neither accepted nor acknowledged.
        parked: the same, in its lines.
        closed: only urgent commands are accepted any more.
        deaf: not even they.
        now: when what is judged was read; of what was parked, when it is accepted.
        logged: whether each command has its lines in the log.
        reading_on: how many need the link to be read, though nothing can be accepted.
        on_change: called when reading may have to go on.
    """

    def __init__(
        self,
        settings: Settings,
        dispatcher: Dispatcher,
        ledger: Ledger[Execution],
        backlog: Backlog,
        refusals: Refusals,
    ) -> None:
        self._settings = settings
        self._dispatcher = dispatcher
        self._queue = dispatcher.backlog
        self.acknowledgements = dispatcher.acknowledgements
        self._ledger = ledger
        self._backlog = backlog
        self._refusals = refusals
        self._table = refusals.catalog.table
        self._responses = refusals.responses
        self._outbox = refusals.responses.outbox
        self._limits = limits_of(settings)
        self.room = Room(settings, self._queue, ledger, backlog, self._outbox)
        self._clock = trio.lowlevel.current_clock()
        self._admitting = False
        self.freshness = Freshness(settings, self._responses.timestamps, self._responses.counters)
        self.parking = Parking(settings, dispatcher, refusals)
        self.parking.on_change = self._changed
        self.parked = self.parking.lines
        self.closed = self.deaf = False
        self.now, self.logged = 0.0, True
        self.reading_on = 0
        self.on_change: Callable[[], None] = lambda: None
        ledger.on_room = self.take_up_waiting
        ledger.on_failing = self._take_back

    def admit(self, request: Request, spec: CommandSpec) -> None:
        """Accept a command that may be accepted, if there is room for it."""
        petal = self._queue.petals[spec.petal]
        if petal.failed and not (petal.lost and spec.urgent):  # those need no slot of it
            self._refusals.unavailable(request, spec.petal)
        elif spec.urgent:
            self._start_urgent(request, spec)
        elif self._ledger.failing and self._ledger.takes(spec):
            self._refusals.refuse(request, ErrorCode.UNAVAILABLE, CANNOT_RECORD)
        elif self.room.may_be_crowded and self.room.is_crowded(request, spec, self.now):
            self._refusals.crowded(request, self._ledger.why_crowded(spec))
        elif (self.parked and spec.petal in self.parked) or not self.room.take(request, spec):
            self._overflow(request, spec)
        else:
            self._accept(request, spec)

    def is_urgent(self, name: str) -> bool:
        """Whether it is served although this is closed: what runs in the grace can fly."""
        spec = self._table.lookup(name)
        return spec is not None and spec.urgent and not self.deaf

    # -- there is room

    def _accept(self, request: Request, spec: CommandSpec) -> None:
        """There is room, and the places of response and receipt are reserved."""
        execution = self._execution(request, spec)
        self._dispatcher.accept(execution)
        if request.wait_ack:
            self._refusals.receipt(request, spec.petal, reserved=True)
        if self.logged:
            execution.log_received()

    def _start_urgent(self, request: Request, spec: CommandSpec) -> None:
        command, wishes = request.command, request.wishes
        places = int(wants_usual(command, wishes)) + (
            wishes is not None and wishes.reply is not None
        )
        self._outbox.reserve(places, urgent=True)
        execution = self._execution(request, spec)
        if self._dispatcher.start_urgent(execution):
            if request.wait_ack:  # without a place of its own: that is no reason to refuse it
                self._refusals.receipt(request, spec.petal)
            if self.logged:
                execution.log_received()
            return
        for _ in range(places):
            self._outbox.release()
        self._ledger.withdraw(execution)
        text = f"{self._settings.urgent_concurrency} urgent commands are running already"
        self._refusals.refuse(request, ErrorCode.BUSY, text)

    def _execution(self, request: Request, spec: CommandSpec) -> Execution:
        delivery, command = request.delivery, request.command
        execution = Execution(
            command,
            delivery.payload,
            spec,
            request.identity,
            self._responses.topic(request.identity),
            self.now,
            self._clock,
            wait_response=command.wait_response,
            logged=self.logged,
        )
        if request.wishes is not None:
            execution.set_wishes(request.wishes)
        if (recent := self._refusals.recent).messages:
            recent.forget(command.message_id, delivery.payload)
        execution.arrival = recent.link | delivery.packet_id
        if delivery.dup or delivery.replayed:
            # It may have been here before, and killed the process.
            execution.restarted, execution.again = True, delivery
        self._ledger.accept(execution, self.acknowledgements.accepted)
        self.acknowledgements.owe(execution, delivery)
        return execution

    # -- there is none

    def _overflow(self, request: Request, spec: CommandSpec) -> None:
        petal = spec.petal
        if petal not in self.parked and self._waits_in_backlog(request, spec):
            return
        takes = self._ledger.takes(spec)
        # To park what cannot wait in the backlog would stop the reading behind it.
        rule = self._settings.overflow if takes else "reject"
        if rule == "drop-oldest" and self._ledger.has_room:
            while self._queue.is_full(petal) and self._dispatcher.drop_oldest(petal):
                if self._waits_in_backlog(request, spec):
                    return
            if self.room.take(request, spec):
                self._accept(request, spec)
                return
        if rule == "wait" and self.parking.is_slow(petal, self.now):
            rule = "reject"
        over = self.reading_on or self._outbox.must_read  # else of the batch before the pause
        if rule != "wait" or (over and self.room.is_used_up(self.parked)):
            self._refusals.refuse(request, ErrorCode.BUSY, TOO_MANY)
            return
        self.parking.park(request, spec, self.now)
        self.watch_room()

    def _waits_in_backlog(self, request: Request, spec: CommandSpec) -> bool:
        """Accept it, to wait there, if it may."""
        # What is acknowledged only when it has been handled fills the broker's window anyway.
        at_once = self.acknowledgements.at_once
        if not (self._backlog.has_room(spec.petal) and at_once and self._ledger.takes(spec)):
            return False
        self._backlog.add(request, spec)
        if request.wait_ack:
            self._refusals.receipt(request, spec.petal)
        self.watch_room()
        return True

    # -- there is room again

    def watch_room(self) -> None:
        """Be told of room while something is parked, and only then: that is rare, and room not."""
        waits = self.take_up_waiting if self.parked or self._backlog.count else None
        self._outbox.hooks.on_place = waits
        self._dispatcher.tell_room(waits)

    def _changed(self) -> None:
        self.watch_room()
        self.on_change()

    def take_up_waiting(self) -> None:
        """There is room: for what waits in the backlog first, and then for what is parked."""
        if not self.closed:
            self._backlog.refill()
        if self.parked:
            self.admit_parked()
        else:
            self.watch_room()

    def admit_parked(self) -> None:
        """Accept what was parked, in order, as far as there is room now."""
        if self._admitting:  # what is done here makes room, which is told here
            return
        self._admitting = True
        self.now = self._clock.current_time()
        try:
            stuck: set[str] = set()  # petals for whose oldest there is no room
            while not self.closed and (parked := self.parked.first(stuck)) is not None:
                if not self._admit_parked(parked):
                    stuck.add(parked.spec.petal)
        finally:
            self._admitting = False
        self._changed()

    def _admit_parked(self, parked: Parked) -> bool:
        """Deal with the first that is parked, of its petal; False when there is no room for it."""
        request = parked.request(self._limits)
        if (objection := self.freshness.judge_parked(request.wishes)) is not None:
            self.parked.pop(parked, self.now)
            self._refusals.refuse(request, *objection)
        elif self._queue.petals[parked.spec.petal].failed:
            self.parked.pop(parked, self.now)
            self._refusals.unavailable(request, parked.spec.petal)
        elif self._ledger.is_crowded(parked.spec, parked.message_id, self.now):
            self.parked.pop(parked, self.now)
            self._refusals.crowded(request, self._ledger.why_crowded(parked.spec))
        elif self._waits_in_backlog(request, parked.spec):
            self.parked.pop(parked, self.now)
        elif self.room.take(request, parked.spec):
            self.parked.pop(parked, self.now)
            spec = parked.spec
            if spec.guessed:  # who serves it may be known by now
                with contextlib.suppress(Exception):  # a petal's own code may be asked
                    spec = self._table.lookup(spec.name) or spec
            self._accept(request, spec)
        else:
            return False
        return True

    # -- ends

    def close(self) -> None:
        """Accept only urgent commands from now on. The rest is left to the session, or refused."""
        self.closed = True
        for parked in self.parked.take(lambda _: True):
            if parked.comes_again:
                self._responses.counters.given_back += 1
            else:
                self._refusals.stopping(parked.request(self._limits))
        self._changed()

    def end_identity(self, identity: Identity, code: ErrorCode, text: str) -> None:
        """The device is another now, and has waited long enough: refuse what is still parked."""
        for parked in self.parked.take(lambda one: one.identity == identity):
            self._refusals.refuse(parked.request(self._limits), code, text)
        self._backlog.end_identity(identity)
        self._changed()

    def session_ends(self) -> None:
        """What is parked will not come again: nobody is to wait for it."""
        deliveries = self.parked.session_ends()
        self.acknowledgements.come_no_more(self._dispatcher.unfinished, deliveries)

    def link_gone(self) -> None:
        """What the session keeps comes again; only what it does not keep stays parked."""
        gone = len(self.parked.take(lambda parked: parked.comes_again))
        self._responses.counters.given_back += gone
        self.watch_room()

    def _take_back(self, numbers: Collection[int]) -> None:
        """The ledger fails: what is not in it yet is refused, or it would hold up all behind it."""
        self._dispatcher.take_back(numbers, ErrorCode.UNAVAILABLE, CANNOT_RECORD)
        requests = self._backlog.take_back(numbers)
        parked = self.parked.take(lambda one: self._ledger.takes(one.spec))
        for request in (*requests, *(one.request(self._limits) for one in parked)):
            self._refusals.refuse(request, ErrorCode.UNAVAILABLE, CANNOT_RECORD)
        self._changed()
