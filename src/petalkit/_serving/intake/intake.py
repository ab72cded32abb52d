"""The intake: reads one link, judges every delivery, and accepts what can be accepted.

The rule: everything that is delivered is accepted, refused, joined to its first copy, or held, and
all but the held is acknowledged (or will be, with its command). When the channel is full and
`overflow` is `wait`, a few more are read and held, so that urgent commands among them start; then
reading pauses, unless something that makes room needs it (see `Outbox.must_read`).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
from collections.abc import Collection, Generator, Sequence

import msgspec
import trio

from ..._authoring.registry import CommandSpec, CommandTable
from ..._values.codec import InvalidEnvelope, Limits, decode_command, parse_expiry
from ..._values.errors import ErrorCode
from ..._values.messages import Command, Identity, Properties
from ..._values.request import Reply, ResponseTopics, Terms, wants_usual
from ..._values.settings.settings import Settings
from ..._values.statistics import Counters
from ...transports import Delivery, Link, WithdrawableDelivery
from ..dispatch.dispatcher import Dispatcher
from ..dispatch.execution import Execution
from ..dispatch.execution import logger as commands_logger
from ..dispatch.unknown_commands import UnknownCommands
from ..ledger.duplicate_window import DuplicateWindow
from ..ledger.journal.forms import as_accepted, expiry_of
from ..ledger.journal.records import Forgotten, JournalError
from ..ledger.journal.write_ahead import Journal
from ..ledger.recent_refusals import RefusedLately
from ..sending.outbox import Outbox
from ..sending.responses import Answers
from ..waiting import wait_any
from .disk_backlog import DiskBacklog
from .freshness import Freshness
from .malformed import MalformedMessages
from .parked import PACKET_IDS, Held, HeldLine
from .redelivery import Copies
from .refusals import Refusals, Request

logger = logging.getLogger("petalkit.intake")

CANNOT_RECORD = "the device cannot write its journal"


class Intake:
    """Lives as long as the runtime; reads one link at a time."""

    def __init__(
        self,
        settings: Settings,
        table: CommandTable,
        dispatcher: Dispatcher,
        duplicates: DuplicateWindow[Execution],
        answers: Answers,
        outbox: Outbox,
        counters: Counters,
        unknown: UnknownCommands,
        limits: Limits,
        lately: RefusedLately,
        journal: Journal | None,
        disk: DiskBacklog | None,
    ) -> None:
        self._settings = settings
        self._limits = limits
        self._lately = lately
        self._journal = journal
        self._disk = disk
        self._table = table
        self._dispatcher = dispatcher
        self._backlog = dispatcher.backlog
        self._answers = answers
        self._outbox = outbox
        self._counters = counters
        self._response_topics = ResponseTopics(settings, counters)
        self.freshness = Freshness(settings, answers.timestamps, counters)
        self._session_kept = settings.keeps_session  # until a link tells better
        self._acks_at_once = settings.acknowledge == "accepted"
        self._logged = True  # whether each command has its lines in the log
        self._replayed = False  # what comes now may have been delivered to an earlier process
        self._may_be_replayed = True  # until a link of this process has got past that
        self._held = HeldLine()
        self._refusals = Refusals(unknown, answers, lately)
        self._malformed = MalformedMessages(answers, counters)
        self._copies = Copies(
            duplicates,
            self._held,
            answers,
            self._refusals,
            outbox,
            counters,
            self._owe_copy,
            Delivery.ack if journal is None else journal.acknowledge,
            self._tell,
            disk,
        )
        self._honours_wait_ack = answers.dialect.honours_wait_ack
        self._resume = trio.Event()
        self._topics: frozenset[str] = frozenset()
        self._without_dots: dict[str, str] = {}  # as RabbitMQ gives them back -> as they are
        self._dots_told = False
        self._topic_of: tuple[Identity | None, str] = (None, "")  # the last one, made once
        self._now = 0.0  # when what is judged was read; of what was held, when it is accepted
        self._clock = trio.lowlevel.current_clock()
        self.paused = False
        self.closed = False
        self._admitting = False
        self._draining = False  # the session is about to end: what is here is ours alone
        self._deaf = False  # closed to urgent commands too
        self._reading_on = 0  # how many want it
        outbox.on_pressure = self._wake
        if journal is not None:
            journal.on_room = self._take_up_waiting
            journal.on_failing = self._take_back

    @property
    def held(self) -> int:
        """Commands read but neither accepted nor acknowledged."""
        return len(self._held)

    async def read(self, link: Link, identity: Identity) -> None:
        """Read a link until it is lost or this is cancelled.

        Raises:
            ConnectionLost: the link is gone.
        """
        self._topics = frozenset(map(identity.topic, self._settings.command_topics))
        without_dots = {topic.replace(".", "/"): topic for topic in self._topics if "." in topic}
        if without_dots != self._without_dots:
            self._without_dots = without_dots
            self._dots_told = False
        self._session_kept = self._settings.keeps_session and link.session_expiry > 0
        self._draining = False
        self._replayed = link.session_present and self._may_be_replayed
        self._lately.new_link(session_present=link.session_present)
        try:
            while True:
                while self._must_pause() and not link.ended.is_set():
                    await self._pause(link)
                await link.deliver(functools.partial(self._take_batch, identity))
        finally:
            self._link_gone()

    def _take_batch(self, identity: Identity, batch: Sequence[Delivery]) -> bool:
        """Judge what has come; False when reading is to pause."""
        self._now = self._clock.current_time()
        self._counters.received += len(batch)
        self._logged = commands_logger.isEnabledFor(logging.INFO)
        if self._replayed:
            for delivery in batch:  # not every broker sets it
                delivery.dup = delivery.qos > 0
        for delivery in batch:
            try:
                self.take(delivery, identity)
            except Exception:  # our bug; the next command is not to pay for it
                self._counters.unanswered += 1
                logger.exception("could not judge a message on %r", delivery.topic)
                delivery.ack()
        return not self._must_pause()

    def announced(self) -> None:
        """The link is subscribed, and so what an earlier process was given has come again."""
        self._replayed = self._may_be_replayed = False

    @contextlib.contextmanager
    def reading_on(self) -> Generator[None]:
        """Do not pause inside this block: an answer of the broker comes in the same stream."""
        self._reading_on += 1
        self._wake()
        try:
            yield
        finally:
            self._reading_on -= 1

    async def _pause(self, link: Link) -> None:
        """Read nothing until there may be room, or a reason to read all the same."""
        self.paused = True
        self._resume = trio.Event()
        try:
            await wait_any(self._resume.wait, link.ended.wait)
        finally:
            self.paused = False

    def close(self) -> None:
        """Accept only urgent commands from now on. The rest is left to the session, or refused."""
        self.closed = True
        for held in self._held.take(lambda _: True):
            if held.comes_again:
                self._counters.given_back += 1
            else:
                self._refusals.stopping(held.request(self._limits))
        self._watch_room()
        self._wake()

    def close_to_urgent(self) -> None:
        """Accept nothing from now on, also no urgent command."""
        self._deaf = True

    def end_identity(self, identity: Identity, code: ErrorCode, text: str) -> None:
        """The device is another now, and has waited long enough: refuse what is still held."""
        for held in self._held.take(lambda one: one.identity == identity):
            self._refusals.refuse(held.request(self._limits), code, text)
        if self._disk is not None:
            self._disk.end_identity(identity)
        self._watch_room()
        self._wake()

    def session_ends(self) -> None:
        """What this link has delivered will not come again: keep it when the link is left."""
        self._session_kept = False
        self._draining = True
        self._admit_held()  # to the journal, where there is one
        self._held.session_ends()
        self._dispatcher.session_ends()

    def session_lost(self) -> None:
        """What links before this have delivered will not come again: it is ours alone."""
        self._held.session_ends()
        self._dispatcher.session_ends()

    @property
    def session_kept(self) -> bool:
        """Whether what is left unacknowledged comes again, as far as is known."""
        return self._session_kept

    def _must_pause(self) -> bool:
        return (
            len(self._held) >= max(1, self._settings.channel_reserve)
            and not self._reading_on
            and not self._outbox.must_read
            and not self.closed
        )

    def _wake(self) -> None:
        self._resume.set()

    def _link_gone(self) -> None:
        """What the session keeps comes again; only what it does not keep stays held."""
        self._counters.given_back += len(self._held.take(lambda held: held.comes_again))
        self._watch_room()

    def _withdrawn(self, delivery: Delivery) -> None:
        """The transport has told the sender that it was not taken: what is held is so no more."""
        if self._held.take(lambda held: held.delivery is delivery):
            self._counters.refused[str(ErrorCode.BUSY)] += 1
            self._watch_room()
            self._wake()

    # -- one delivery

    def take(self, delivery: Delivery, identity: Identity) -> None:
        """Judge one delivery."""
        fault = delivery.fault
        if fault is not None and not fault.too_large:
            self._malformed.refuse(delivery, identity, fault)
            return
        if delivery.topic not in self._topics:
            self._unexpected(delivery)
            return
        properties = delivery.properties
        reply: Reply | None = None
        objection: str | None = None
        if properties is not None:
            # First of all: they can be read, and be answered, where the payload cannot.
            usual = self._response_topic(identity)
            reply, objection = self._response_topics.reply(
                properties, usual=usual, commands=self._topics
            )
        try:
            if fault is not None:
                raise InvalidEnvelope(ErrorCode.TOO_LARGE, fault.text)
            command = decode_command(delivery.payload, delivery.topic, self._limits)
            expires_at = parse_expiry(command) if "expiresAt" in command.extra else None
            if properties is not None:
                command = self._with_properties(command, properties)
        except InvalidEnvelope as error:
            if objection is not None:
                _warn_of_topic(objection, error.command, error.message_id)
            self._refusals.unreadable(delivery, identity, error, reply)
            return
        if objection is not None:
            _warn_of_topic(objection, command.command, command.message_id)
        terms: Terms | None = None
        if properties is not None or expires_at is not None:
            terms = self._terms(properties, expires_at, reply)
        # What is no boolean asks for nothing.
        wait_ack = self._honours_wait_ack and command.extra.get("waitAck") is True
        if wait_ack:
            spec = self._table.lookup(command.command)
            wait_ack = spec is None or not spec.guessed  # or nobody knows who received it
        request = Request(delivery, identity, command, terms, wait_ack)
        try:
            self._judge(request)
        except JournalError as error:  # what it may be a copy of cannot be read
            logger.error("%s", error)
            self._refusals.refuse(request, ErrorCode.UNAVAILABLE, CANNOT_RECORD)

    def _unexpected(self, delivery: Delivery) -> None:
        """On a topic that was not subscribed to.

        Also where it looks like one of ours with `/` for `.`: then the broker (RabbitMQ) makes no
        difference between `a.b` and `a/b`, and it may have been meant for somebody else.
        """
        self._counters.unexpected_topic += 1
        delivery.ack()
        if delivery.topic not in self._without_dots:
            logger.warning("ignored a message on the unexpected topic %r", delivery.topic)
        elif not self._dots_told:
            self._dots_told = True
            logger.warning(
                "no command can be taken: the broker gives them on %r and not on %r. RabbitMQ "
                "takes a dot for a slash: IDs and topics must have no dot there. From now on they "
                "are only counted (unexpected_topic)",
                delivery.topic,
                self._without_dots[delivery.topic],
            )

    def _judge(self, request: Request) -> None:
        command = request.command
        if self.closed and not self._is_urgent(command.command):
            known = self._copies.may_exist(command.message_id) and self._copies.take(
                request, self._now, closed=True
            )
            # Nor is one acknowledged whose answer would not leave any more.
            unsaid = request.delivery.qos > 0 and not self._outbox.is_sending
            if not known and (unsaid or self._comes_again(request.delivery)):
                self._counters.given_back += 1
            elif not known:
                self._refusals.stopping(request)
            return
        if request.delivery.retain:
            self._refuse_retained(request)
            return
        # Before its expiry: a copy that came too late belongs to the first, which did not.
        if self._copies.may_exist(command.message_id) and self._copies.take(request, self._now):
            return
        refused = self._lately.find(command.message_id, request.delivery)
        if refused is not None:
            self._counters.duplicates_answered += 1
            self._refusals.again(request, refused)
            return
        spec = self._table.lookup(command.command)
        if request.terms is not None or self.freshness.judges_all:
            objection = self.freshness.judge(request, spec)
            if objection is not None:
                self._refusals.refuse(request, *objection)
                return
        if spec is None:
            self._refusals.unknown(request)
        elif self._backlog.petals[spec.petal].failed:
            self._refuse_unavailable(request, spec)
        elif spec.urgent:
            self._start_urgent(request, spec)
        elif self._cannot_record(spec):
            self._refusals.refuse(request, ErrorCode.UNAVAILABLE, CANNOT_RECORD)
        elif self._held or self._is_behind(spec) or not self._has_room(request, spec):
            self._overflow(request, spec)
        else:
            self._accept(request, spec)

    def _refuse_unavailable(self, request: Request, spec: CommandSpec) -> None:
        """Its petal has failed: its sender, who waits, is told at once."""
        text = f"petal {spec.petal!r} is not available"
        self._refusals.refuse(request, ErrorCode.UNAVAILABLE, text)

    def _refuse_retained(self, request: Request) -> None:
        if self._copies.is_known(request.command.message_id, self._now):
            # It came live before, without the flag, and has its answer.
            self._counters.refused[str(ErrorCode.RETAINED)] += 1
            request.delivery.ack()
            return
        text = "a retained command is not run: it was sent to whoever comes, at any time"
        self._refusals.refuse(request, ErrorCode.RETAINED, text)

    def _with_properties(self, command: Command, properties: Properties) -> Command:
        """The command with what MQTT 5 said of it.

        Raises:
            InvalidEnvelope: TOO_LARGE.
        """
        if properties.size > self._settings.properties_max:
            refusal = InvalidEnvelope(
                ErrorCode.TOO_LARGE,
                f"the properties have {properties.size} bytes; "
                f"{self._settings.properties_max} are allowed",
            )
            refusal.message_id = command.message_id
            refusal.wait_response = command.wait_response
            refusal.command = command.command
            raise refusal
        return msgspec.structs.replace(command, properties=properties)

    def _terms(
        self, properties: Properties | None, expires_at: float | None, reply: Reply | None
    ) -> Terms | None:
        expiry = None if properties is None else properties.message_expiry
        if expiry is None and expires_at is None and reply is None:
            return None
        return Terms(
            expires_at=math.inf if expires_at is None else expires_at,
            # The broker has taken off what the message waited there, so it counts from here.
            deadline=math.inf if expiry is None else self._now + expiry,
            reply=reply,
        )

    def _cannot_record(self, spec: CommandSpec) -> bool:
        return self._journal is not None and self._journal.failing and spec.journal

    def _is_behind(self, spec: CommandSpec) -> bool:
        """Whether others wait on disk, which are first; not for what cannot wait there."""
        return self._waits_for_disk and spec.journal

    @property
    def _waits_for_disk(self) -> bool:
        return self._disk is not None and self._disk.count > 0

    def _has_room(self, request: Request, spec: CommandSpec) -> bool:
        """Whether it can be accepted now; then the places of its answers are reserved."""
        journal = self._journal
        if journal is not None and not spec.journal:
            # What cannot wait on disk has a reserve, or one slow petal would stop that of others.
            if self._backlog.is_over_reserve:
                return False
        elif self._backlog.is_full or (journal is not None and not journal.has_room):
            return False
        command, terms = request.command, request.terms
        reply = terms is not None and terms.reply is not None
        if reply or request.wait_ack:
            return self._outbox.reserve(reply + request.wait_ack + wants_usual(command, terms))
        return not command.wait_response or self._outbox.reserve()

    def _accept(self, request: Request, spec: CommandSpec) -> None:
        """There is room, and the places of response and receipt are reserved."""
        execution = self._execution(request, spec)
        self._dispatcher.accept(execution)
        if request.wait_ack:
            self._tell(request, spec.petal, reserved=True)
        if self._logged:
            execution.log_received()

    def _start_urgent(self, request: Request, spec: CommandSpec) -> None:
        command, terms = request.command, request.terms
        places = int(wants_usual(command, terms)) + (terms is not None and terms.reply is not None)
        if places and not self._outbox.reserve(places, force=True):
            self._refusals.no_place(request)
            return
        execution = self._execution(request, spec)
        if self._dispatcher.start_urgent(execution):
            if request.wait_ack:  # without a place of its own: that is no reason to refuse it
                self._tell(request, spec.petal)
            if self._logged:
                execution.log_received()
            return
        for _ in range(places):
            self._outbox.release()
        if execution.recorded and self._journal is not None:
            if command.message_id is not None:
                self._journal.forget(command.message_id, execution.number)
            self._journal.add(Forgotten(execution.number))
        text = f"{self._settings.urgent_concurrency} urgent commands are running already"
        self._refusals.refuse(request, ErrorCode.BUSY, text)

    def _tell(self, request: Request, petal: str | None, *, reserved: bool = False) -> None:
        """Tell the sender, on `ack`, that its command came, or a copy of it.

        Args:
            request: what came.
            petal: that serves it; None when that has to be looked up.
            reserved: whether there is a place for it in the outbox.
        """
        command = request.command
        if petal is None:
            spec = self._table.lookup(command.command)
            # It may be served no longer; its prefix is the next best name.
            petal = command.command.partition("/")[0] if spec is None else spec.petal
        self._answers.acknowledge(request.identity, command.message_id, petal, reserved=reserved)

    def _execution(self, request: Request, spec: CommandSpec) -> Execution:
        delivery, command = request.delivery, request.command
        execution = Execution(
            command,
            delivery.payload,
            spec,
            request.identity,
            self._response_topic(request.identity),
            self._now,
            self._clock,
            wait_response=command.wait_response,
            logged=self._logged,
        )
        if request.terms is not None:
            execution.set_terms(request.terms)
        self._lately.forget(command.message_id, delivery.payload)
        execution.arrival = self._lately.arrival(delivery)
        if self._journal is not None:
            self._record(execution, delivery, self._journal)
        elif self._acks_at_once or self._draining:
            delivery.ack()
        elif delivery.qos:
            execution.deliveries = (delivery,)
        if delivery.dup:
            # It may have been here before, and killed the process.
            execution.restarted, execution.again = True, delivery
        return execution

    def _record(self, execution: Execution, delivery: Delivery, journal: Journal) -> None:
        """Put an accepted command down, if it is to be, and acknowledge it when that is written."""
        execution.number = journal.next_number()
        if execution.spec.journal and journal.takes_more:
            execution.recorded = True
            wall = self._answers.timestamps.now()
            journal.add(
                as_accepted(
                    execution.number,
                    execution.command,
                    execution.payload,
                    execution.identity,
                    wait_response=execution.wait_response,
                    replies=execution.replies,
                    guessed=execution.spec.guessed,
                    expires_at=expiry_of(execution.terms, wall, self._now),
                    at=wall,
                ),
                functools.partial(self._on_disk, execution),
            )
        self._owe(execution, delivery)

    def _on_disk(self, execution: Execution) -> None:
        execution.on_disk = True
        if self._acks_at_once or self._draining:
            execution.acknowledge()

    def _take_back(self, numbers: Collection[int]) -> None:
        """The journal fails: what is not in it yet is refused, so that others get through.

        Acknowledgements leave in order, and one that is withheld holds up all behind it.
        """
        self._dispatcher.take_back(numbers, ErrorCode.UNAVAILABLE, CANNOT_RECORD)
        requests = [] if self._disk is None else self._disk.take_back(numbers)
        held = self._held.take(lambda one: one.spec.journal)
        for request in (*requests, *(one.request(self._limits) for one in held)):
            self._refusals.refuse(request, ErrorCode.UNAVAILABLE, CANNOT_RECORD)
        self._watch_room()
        self._wake()

    def _response_topic(self, identity: Identity) -> str:
        if identity is not self._topic_of[0]:
            self._topic_of = (identity, identity.topic(self._settings.response_topic))
        return self._topic_of[1]

    def _owe(self, execution: Execution, delivery: Delivery) -> None:
        """Acknowledge when the command is safe, or with it, as it is set."""
        unwritten = execution.recorded and not execution.on_disk
        if (self._acks_at_once or self._draining) and not unwritten:
            delivery.ack()
        elif delivery.qos:
            execution.deliveries = (*execution.deliveries, delivery)

    def _owe_copy(self, first: Execution, delivery: Delivery) -> None:
        """The same of a copy that has joined its first: what it wants has to be on disk too."""
        safe = self._acks_at_once or self._draining or first.finished
        if safe and first.recorded and self._journal is not None:
            self._journal.acknowledge(delivery)
        else:
            self._owe(first, delivery)

    def _comes_again(self, delivery: Delivery) -> bool:
        """Whether the session delivers it again if it is not acknowledged."""
        return delivery.qos > 0 and self._session_kept

    def _is_urgent(self, name: str) -> bool:
        """Whether it is served although the intake is closed: what runs in the grace can fly."""
        spec = self._table.lookup(name)
        return spec is not None and spec.urgent and not self._deaf

    # -- overflow

    def _overflow(self, request: Request, spec: CommandSpec) -> None:
        if not self._held and self._waits_on_disk(request, spec):
            return
        rule = self._settings.overflow
        if self._journal is not None and not spec.journal:
            rule = (
                "reject"  # to hold it would stop the reading behind it, and it cannot wait on disk
            )
        if rule == "drop-oldest" and self._can_take(spec):
            while self._dispatcher.backlog.is_full and self._dispatcher.drop_oldest():
                if self._waits_on_disk(request, spec):
                    return
            if not self._is_behind(spec) and self._has_room(request, spec):
                self._accept(request, spec)
                return
        if rule != "wait" or self._is_over_reserve():
            self._refusals.refuse(request, ErrorCode.BUSY, "too many commands are waiting")
            return
        again = self._comes_again(request.delivery)
        self._held.add(Held.of(request, spec, comes_again=again))
        if isinstance(request.delivery, WithdrawableDelivery):
            request.delivery.on_withdrawn = self._withdrawn
        self._watch_room()
        if self._draining:
            # Or the broker's window stays shut, and the rest never comes.
            request.delivery.ack()

    def _can_take(self, spec: CommandSpec) -> bool:
        """Whether it is the channel that has no room, and not the journal."""
        return self._journal is None or not spec.journal or self._journal.has_room

    def _waits_on_disk(self, request: Request, spec: CommandSpec) -> bool:
        """Accept it, to wait on disk, if it may."""
        disk = self._disk
        # What is acknowledged only when it has been handled fills the broker's window anyway.
        at_once = self._acks_at_once or self._draining
        if disk is None or not disk.has_room or not (spec.journal and at_once):
            return False
        self._counters.accepted += 1
        disk.add(request, guessed=spec.guessed)
        if request.wait_ack:
            self._tell(request, spec.petal)
        self._watch_room()
        return True

    def _is_over_reserve(self) -> bool:
        """Whether reading had to go on although the reserve is full, and cannot for ever."""
        if not (self._reading_on or self._outbox.must_read):
            return False  # one of the batch after which reading pauses
        # The answer that is waited for may stand behind all that the broker has sent already, and
        # its window is no bound: mosquitto 2.0 sends thousands while PUBACKs flow.
        return len(self._held) >= PACKET_IDS or self._held.size >= self._settings.channel_bytes

    def _watch_room(self) -> None:
        """Be told of room while something is held, and only then: that is rare, and room is not."""
        waits = self._take_up_waiting if self._held or self._waits_for_disk else None
        self._dispatcher.on_room = self._outbox.on_place = waits

    def _take_up_waiting(self) -> None:
        """There is room: for what waits on disk first, and then for what is held."""
        if self._disk is not None and not self.closed:
            self._disk.refill()
        if self._held:
            self._admit_held()
        else:
            self._watch_room()

    def take_up(self, count: int) -> None:
        """Take up so many commands that an earlier run has left on disk."""
        if self._disk is not None and count:
            self._disk.restore(count)
            self._take_up_waiting()

    def _admit_held(self) -> None:
        """Accept what was held, in order, as far as there is room now."""
        if self._admitting:  # what is done here makes room, which is told here
            return
        self._admitting = True
        self._now = self._clock.current_time()
        try:
            while self._held and not self.closed:
                held = self._held.first()
                request = held.request(self._limits)
                if (objection := self.freshness.judge_held(request.terms)) is not None:
                    self._held.pop_first()
                    self._refusals.refuse(request, *objection)
                elif self._backlog.petals[held.spec.petal].failed:
                    self._held.pop_first()
                    self._refuse_unavailable(request, held.spec)
                elif self._waits_on_disk(request, held.spec):
                    self._held.pop_first()
                elif not self._is_behind(held.spec) and self._has_room(request, held.spec):
                    self._held.pop_first()
                    spec = held.spec
                    if spec.guessed:  # who serves it may be known by now
                        spec = self._table.lookup(spec.name) or spec
                    self._accept(request, spec)
                else:
                    break
        finally:
            self._admitting = False
        self._watch_room()
        self._wake()


def _warn_of_topic(objection: str, command: str | None, message_id: str | None) -> None:
    logger.warning(
        "a command is not answered on its Response Topic: %s",
        objection,
        extra={"command": command, "message_id": message_id},
    )
