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
from collections.abc import Generator, Sequence

import msgspec
import trio

from ._answers import Answers
from ._codec import InvalidEnvelope, Limits, decode_command, parse_expiry
from ._dispatcher import Dispatcher
from ._duplicates import DuplicateWindow, is_same_request
from ._errors import ErrorCode
from ._execution import Execution
from ._execution import logger as commands_logger
from ._held import PACKET_IDS, Held, HeldLine
from ._messages import Command, Identity, Properties
from ._outbox import Outbox
from ._registry import CommandSpec, CommandTable
from ._settings import Settings
from ._statistics import Counters
from ._terms import Reply, ResponseTopics, Terms, wants_usual
from ._waiting import wait_any
from .transports import Delivery, Link

logger = logging.getLogger("petalkit.intake")

REPLIES_MAX = 16  # Response Topics of one command's copies that are answered with it


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
    ) -> None:
        self._settings = settings
        self._limits = Limits(settings.payload_max, settings.depth_max, settings.message_id_max)
        self._table = table
        self._dispatcher = dispatcher
        self._backlog = dispatcher.backlog
        self._duplicates = duplicates
        self._answers = answers
        self._outbox = outbox
        self._counters = counters
        self._response_topics = ResponseTopics(settings, counters)
        self._session_kept = settings.keeps_session
        self._acks_at_once = settings.acknowledge == "accepted"
        self._logged = True  # whether each command has its lines in the log
        self._held = HeldLine()
        self._resume = trio.Event()
        self._topics: frozenset[str] = frozenset()
        self._topic_of: tuple[Identity | None, str] = (None, "")  # the last one, made once
        self._now = 0.0  # when what is judged was read; of what was held, when it is accepted
        self._clock = trio.lowlevel.current_clock()
        self.paused = False
        self.closed = False
        self._admitting = False
        self._draining = False  # the session is about to end: what is here is ours alone
        self._deaf = False  # closed to urgent commands too
        self._reading_on = False
        outbox.on_pressure = self._wake

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
        self._session_kept = self._settings.keeps_session
        self._draining = False
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
        for delivery in batch:
            try:
                self.take(delivery, identity)
            except Exception:  # our bug; the next command is not to pay for it
                self._counters.unanswered += 1
                logger.exception("could not judge a message on %r", delivery.topic)
                delivery.ack()
        return not self._must_pause()

    @contextlib.contextmanager
    def reading_on(self) -> Generator[None]:
        """Do not pause inside this block: an answer of the broker comes in the same stream."""
        self._reading_on = True
        self._wake()
        try:
            yield
        finally:
            self._reading_on = False

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
            if not held.comes_again:
                command = held.command(self._limits)
                self._refuse_stopping(held.delivery, held.identity, command, held.terms)
        self._watch_room()
        self._wake()

    def close_to_urgent(self) -> None:
        """Accept nothing from now on, also no urgent command."""
        self._deaf = True

    def end_identity(self, identity: Identity, code: ErrorCode, text: str) -> None:
        """The device is another now, and has waited long enough: refuse what is still held."""
        for held in self._held.take(lambda one: one.identity == identity):
            command = held.command(self._limits)
            self._refuse(held.delivery, identity, command, held.terms, code, text)
        self._watch_room()
        self._wake()

    def session_ends(self) -> None:
        """What this link has delivered will not come again: keep it when the link is left."""
        self._session_kept = False
        self._draining = True
        self._held.session_ends()
        self._dispatcher.session_ends()

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
        self._held.take(lambda held: held.comes_again)
        self._watch_room()

    # -- one delivery

    def take(self, delivery: Delivery, identity: Identity) -> None:
        """Judge one delivery."""
        if delivery.topic not in self._topics:
            self._counters.unexpected_topic += 1
            logger.warning("ignored a message on the unexpected topic %r", delivery.topic)
            delivery.ack()
            return
        properties = delivery.properties
        reply: Reply | None = None
        if properties is not None:
            # First of all: they can be read, and be answered, where the payload cannot.
            usual = self._response_topic(identity)
            reply = self._response_topics.reply(properties, usual=usual, commands=self._topics)
        try:
            command = decode_command(delivery.payload, delivery.topic, self._limits)
            expires_at = parse_expiry(command) if "expiresAt" in command.extra else None
            if properties is not None:
                command = self._with_properties(command, properties)
        except InvalidEnvelope as error:
            self._refuse_unreadable(delivery, identity, error, reply)
            return
        terms: Terms | None = None
        if properties is not None or expires_at is not None:
            terms = self._terms(properties, expires_at, reply)
        if self.closed and not self._is_urgent(command.command):
            known = self._may_be_known(command.message_id) and self._is_duplicate(
                delivery, identity, command, terms
            )
            if not known and not self._comes_again(delivery):
                self._refuse_stopping(delivery, identity, command, terms)
            return
        if delivery.retain and self._is_known(command.message_id):
            # It came live before, without the flag, and has its answer.
            self._counters.refused[str(ErrorCode.RETAINED)] += 1
            delivery.ack()
            return
        if delivery.retain:
            text = "a retained command is not run: it was sent to whoever comes, at any time"
            self._refuse(delivery, identity, command, terms, ErrorCode.RETAINED, text)
            return
        # Before its expiry: a copy that came too late belongs to the first, which did not.
        if self._may_be_known(command.message_id) and self._is_duplicate(
            delivery, identity, command, terms
        ):
            return
        if terms is not None and self._are_over(terms):
            text = "it had expired when it came"
            self._refuse(delivery, identity, command, terms, ErrorCode.EXPIRED, text)
            return
        spec = self._table.lookup(command.command)
        if spec is None:
            self._refuse_unknown(delivery, identity, command, terms)
            return
        if self._backlog.petals[spec.petal].failed:
            text = f"petal {spec.petal!r} is not available"
            self._refuse(delivery, identity, command, terms, ErrorCode.UNAVAILABLE, text)
            return
        if spec.urgent:
            self._start_urgent(delivery, identity, command, spec, terms)
        elif self._held or not self._has_room(command, terms):
            self._overflow(delivery, identity, command, spec, terms)
        else:
            self._accept(delivery, identity, command, spec, terms)

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

    def _are_over(self, terms: Terms) -> bool:
        return terms.are_over(self._answers.timestamps.now(), trio.current_time())

    def _has_room(self, command: Command, terms: Terms | None) -> bool:
        if self._backlog.is_full:
            return False
        if terms is not None and terms.reply is not None:
            return self._outbox.reserve(1 + wants_usual(command, terms))
        return not command.wait_response or self._outbox.reserve()

    def _accept(
        self,
        delivery: Delivery,
        identity: Identity,
        command: Command,
        spec: CommandSpec,
        terms: Terms | None,
    ) -> None:
        """There is room, and a place for the response is reserved."""
        execution = self._execution(delivery, identity, command, spec, terms)
        self._dispatcher.accept(execution)
        if self._logged:
            execution.log_received()

    def _start_urgent(
        self,
        delivery: Delivery,
        identity: Identity,
        command: Command,
        spec: CommandSpec,
        terms: Terms | None,
    ) -> None:
        places = int(wants_usual(command, terms)) + (terms is not None and terms.reply is not None)
        if places and not self._outbox.reserve(places, force=True):
            text = "there is no room for one more response"
            self._refuse(delivery, identity, command, terms, ErrorCode.BUSY, text)
            return
        execution = self._execution(delivery, identity, command, spec, terms)
        if self._dispatcher.start_urgent(execution):
            if self._logged:
                execution.log_received()
            return
        for _ in range(places):
            self._outbox.release()
        text = f"{self._settings.urgent_concurrency} urgent commands are running already"
        self._refuse(delivery, identity, command, terms, ErrorCode.BUSY, text)

    def _execution(
        self,
        delivery: Delivery,
        identity: Identity,
        command: Command,
        spec: CommandSpec,
        terms: Terms | None,
    ) -> Execution:
        execution = Execution(
            command,
            delivery.payload,
            spec,
            identity,
            self._response_topic(identity),
            self._now,
            self._clock,
            wait_response=command.wait_response,
            logged=self._logged,
        )
        if terms is not None:
            execution.set_terms(terms)
        if self._acks_at_once or self._draining:
            delivery.ack()
        elif delivery.qos:
            execution.deliveries = (delivery,)
        return execution

    def _response_topic(self, identity: Identity) -> str:
        if identity is not self._topic_of[0]:
            self._topic_of = (identity, identity.topic(self._settings.response_topic))
        return self._topic_of[1]

    def _owe(self, execution: Execution, delivery: Delivery) -> None:
        """Acknowledge now or with the command, as it is set."""
        if self._acks_at_once or self._draining:
            delivery.ack()
        elif delivery.qos:
            execution.deliveries = (*execution.deliveries, delivery)

    # -- duplicates

    def _may_be_known(self, message_id: str | None) -> bool:
        """Whether an earlier one of that ID is worth a closer look."""
        return message_id is not None and (
            message_id in self._duplicates or self._held.find(message_id) is not None
        )

    def _is_known(self, message_id: str | None) -> bool:
        return message_id is not None and (
            self._duplicates.live(message_id) is not None
            or self._duplicates.finished(message_id, self._now) is not None
            or self._held.find(message_id) is not None
        )

    def _is_duplicate(
        self, delivery: Delivery, identity: Identity, command: Command, terms: Terms | None
    ) -> bool:
        assert command.message_id is not None
        live = self._duplicates.live(command.message_id)
        if live is not None:
            if not is_same_request(live.command.command, live.payload, command, delivery.payload):
                self._refuse_reused(delivery, identity, command, terms)
            elif not self._join(live, command, terms):
                text = "there is no room for one more response"
                self._refuse(delivery, identity, command, terms, ErrorCode.BUSY, text)
            else:
                self._counters.duplicates_joined += 1
                self._owe(live, delivery)
            return True
        finished = self._duplicates.finished(command.message_id, self._now)
        if finished is None:
            return self._is_held(delivery, identity, command, terms)
        if not is_same_request(finished.command, finished.payload, command, delivery.payload):
            self._refuse_reused(delivery, identity, command, terms)
            return True
        self._counters.duplicates_answered += 1
        ago = self._now - finished.at
        logger.info(
            "not run again: it was answered %.1f s ago, and is answered the same",
            ago,
            extra={"command": command.command, "message_id": command.message_id},
        )
        # A redelivery may find the response still on its way; it needs no second one then.
        owes = self._outbox.owes_answer
        if wants_usual(command, terms) and not owes(command.message_id):
            self._answers.put_unreserved(identity, command.message_id, finished.response)
        reply = None if terms is None else terms.reply
        if reply is not None and not owes(reply.key(command.message_id)):
            self._answers.put_reply(reply, command.message_id, finished.response)
        delivery.ack()
        return True

    def _join(self, live: Execution, command: Command, terms: Terms | None) -> bool:
        """Let a copy share the answer, wherever it wants it; False when there is no place for it.

        A copy can name a Response Topic of its own, and each is a message more: so they count.
        """
        usual = wants_usual(command, terms) and not live.wait_response
        replies = live.replies
        if terms is not None and terms.reply is not None and terms.reply not in replies:
            replies = (*replies, terms.reply)
        places = int(usual) + len(replies) - len(live.replies)
        if places and (len(replies) > REPLIES_MAX or not self._outbox.reserve(places)):
            return False
        live.wait_response = live.wait_response or usual
        live.replies = replies
        return True

    def _is_held(
        self, delivery: Delivery, identity: Identity, command: Command, terms: Terms | None
    ) -> bool:
        """A copy of a command that is held: one of them is enough."""
        assert command.message_id is not None
        held = self._held.find(command.message_id)
        if held is None:
            return False
        if not is_same_request(held.spec.name, held.delivery.payload, command, delivery.payload):
            self._refuse_reused(delivery, identity, command, terms)
            return True
        reply = None if terms is None else terms.reply
        if reply is not None and (held.terms is None or held.terms.reply != reply):
            # What is held may come again without this copy, which would have no answer then.
            text = "it came before, and is not accepted yet"
            self._refuse(delivery, identity, command, terms, ErrorCode.BUSY, text)
            return True
        self._counters.duplicates_joined += 1
        held.wait_response = held.wait_response or command.wait_response
        delivery.ack()
        return True

    # -- refusals

    def _refuse(
        self,
        delivery: Delivery,
        identity: Identity,
        command: Command,
        terms: Terms | None,
        code: ErrorCode,
        text: str,
    ) -> None:
        self._answers.refuse(
            identity,
            code,
            text,
            command=command.command,
            message_id=command.message_id,
            answer=wants_usual(command, terms),
            reply=None if terms is None else terms.reply,
        )
        delivery.ack()

    def _refuse_reused(
        self, delivery: Delivery, identity: Identity, command: Command, terms: Terms | None
    ) -> None:
        text = "this messageId was used for another command or other data"
        self._refuse(delivery, identity, command, terms, ErrorCode.MESSAGE_ID_REUSED, text)

    def _refuse_unknown(
        self, delivery: Delivery, identity: Identity, command: Command, terms: Terms | None
    ) -> None:
        rule = self._settings.answer_unknown
        prefixes = {name.rpartition("/")[0] for name in self._table.public_names()}
        ours = any(command.command.startswith(prefix + "/") for prefix in prefixes)
        answered = rule == "all" or (rule == "own" and ours)
        usual = answered and wants_usual(command, terms)
        reply = terms.reply if answered and terms is not None else None
        details: dict[str, object] = {}
        if usual or reply is not None:  # looking for a near match is slow
            near = self._table.near(command.command)
            if near is not None:
                details["did_you_mean"] = near
            details["available_commands"] = self._table.public_names()
        self._answers.refuse(
            identity,
            ErrorCode.UNKNOWN_COMMAND,
            f"Unknown command: {command.command}",
            command=command.command,
            message_id=command.message_id,
            answer=usual,
            reply=reply,
            details=details,
        )
        delivery.ack()

    def _refuse_unreadable(
        self, delivery: Delivery, identity: Identity, error: InvalidEnvelope, reply: Reply | None
    ) -> None:
        self._answers.refuse(
            identity,
            error.code,
            error.message,
            command=error.command,
            message_id=error.message_id,
            answer=error.wait_response and not (reply is not None and reply.is_usual),
            reply=reply,
            details={"errors": list(error.errors)} if error.errors else None,
        )
        # Nothing at all is how MQTT clears a retained message, and no attempt at a command.
        if not error.wait_response and reply is None and delivery.payload:
            self._answers.report_unreadable(identity, delivery.topic, error)
        delivery.ack()

    def _comes_again(self, delivery: Delivery) -> bool:
        """Whether the session delivers it again if it is not acknowledged."""
        return delivery.qos > 0 and self._session_kept

    def _is_urgent(self, name: str) -> bool:
        """Whether it is served although the intake is closed: what runs in the grace can fly."""
        spec = self._table.lookup(name)
        return spec is not None and spec.urgent and not self._deaf

    def _refuse_stopping(
        self, delivery: Delivery, identity: Identity, command: Command, terms: Terms | None
    ) -> None:
        text = "the device is shutting down"
        self._refuse(delivery, identity, command, terms, ErrorCode.SHUTTING_DOWN, text)

    # -- overflow

    def _overflow(
        self,
        delivery: Delivery,
        identity: Identity,
        command: Command,
        spec: CommandSpec,
        terms: Terms | None,
    ) -> None:
        rule = self._settings.overflow
        if rule == "drop-oldest":
            while self._dispatcher.backlog.is_full and self._dispatcher.drop_oldest():
                pass
            if self._has_room(command, terms):
                self._accept(delivery, identity, command, spec, terms)
                return
        if rule != "wait" or self._is_over_reserve():
            text = "too many commands are waiting"
            self._refuse(delivery, identity, command, terms, ErrorCode.BUSY, text)
            return
        again = self._comes_again(delivery)
        id_and_wish = command.message_id, command.wait_response
        self._held.add(Held(delivery, spec, identity, terms, again, *id_and_wish))
        self._watch_room()
        if self._draining:
            delivery.ack()  # or the broker's window stays shut, and the rest never comes

    def _is_over_reserve(self) -> bool:
        """Whether reading had to go on although the reserve is full, and cannot for ever."""
        if not (self._reading_on or self._outbox.must_read):
            return False  # one of the batch after which reading pauses
        # The answer that is waited for may stand behind all that the broker has sent already, and
        # its window is no bound: mosquitto 2.0 sends thousands while PUBACKs flow.
        return len(self._held) >= PACKET_IDS or self._held.size >= self._settings.channel_bytes

    def _watch_room(self) -> None:
        """Be told of room while something is held, and only then: that is rare, and room is not."""
        waits = self._admit_held if self._held else None
        self._dispatcher.on_room = self._outbox.on_place = waits

    def _admit_held(self) -> None:
        """Accept what was held, in order, as far as there is room now."""
        if self._admitting:  # what is done here makes room, which is told here
            return
        self._admitting = True
        self._now = self._clock.current_time()
        try:
            while self._held and not self.closed:
                held = self._held.first()
                delivery, command, terms = held.delivery, held.command(self._limits), held.terms
                if terms is not None and self._are_over(terms):
                    self._held.pop_first()
                    text = "it expired before it could be accepted"
                    self._refuse(delivery, held.identity, command, terms, ErrorCode.EXPIRED, text)
                elif self._has_room(command, terms):
                    self._held.pop_first()
                    self._accept(delivery, held.identity, command, held.spec, terms)
                else:
                    break
        finally:
            self._admitting = False
        self._watch_room()
        self._wake()
