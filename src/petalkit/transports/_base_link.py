"""What every link over a byte stream has in common: its life, its inbox, and its keep alive.

The rules: reading stops when nobody receives, with a bound; what is published or acknowledged in
one wake-up leaves together, by the writing task, which runs when all who were awake have had their
turn; limits count silence, not time, for a slow line is not a dead one; whatever ends the link
goes through `_lose`, once.

A link brings its own tasks, what it owes, and how it says PINGREQ and DISCONNECT.
"""

from __future__ import annotations

import abc
import copy
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import trio

from .._values.errors import ConnectionLost, TransportError
from .._values.messages import Message
from .._values.settings.server_references import Referral
from ._connecting.sockets import is_peers_doing
from ._contract import ConnectOptions, Link, OnDone, wait_within
from ._delivery import Delivery
from ._line.keepalive import KeepAlive
from ._line.patience import LinePatience
from ._line.rest import Rest
from ._line.send_queue import Outflow
from ._receiving.bounded_inbox import BoundedInbox, packet_limit

logger = logging.getLogger("petalkit.transport")

OUTGOING_BYTES = 1024 * 1024  # handed over and not sent; then publishing waits
# What is read together is judged together, and its last may be an emergency stop: hundreds of small
# messages take long, and each read of a large one little.
READ_SIZE = 16 * 1024
MAYBE_3_1_1 = "; a broker that speaks only MQTT 3.1.1 may keep silent like this"
# Of a connection that ends before CONNACK; RabbitMQ 3.10 does so.
MAYBE_3_1_1_CLOSES = "; a broker that speaks only MQTT 3.1.1 may end it like this"


class BaseLink(Link):
    """See the module.

    Attributes:
        referral: to another server, by which the broker refused or ended the link.
    """

    referral: Referral | None = None

    def __init__(self, options: ConnectOptions) -> None:
        self._options = options
        self._watch = KeepAlive(options.keep_alive, trio.current_time())
        self._up = self._leaving = False
        self._lost: ConnectionLost | None = None
        self._ended = trio.Event()
        self._scope = trio.CancelScope()
        self._inbox = BoundedInbox(self._loss, self._watch)
        self._packet_limit = packet_limit(options.payload_max)
        self._writer = Rest()
        self._wake_writer = self._writer.wake
        self._publishers = Rest()
        self._wake_publishers = self._publishers.wake
        self._broker_limits: Mapping[str, int] = {}
        self._fits_all = True  # whether the broker takes every QoS of ours, and retains

    def _state(self) -> str:
        return "lost" if self._lost else "up" if self._up else "connecting"

    # -- what a link brings

    @abc.abstractmethod
    def _open(self, deadline: float) -> AbstractAsyncContextManager[None]:
        """Run the tasks of the link around a block, which begins when CONNACK is decided.

        Whatever ended before `deadline`, `_up` says whether the broker accepted; if not, the link
        is lost.
        """

    @abc.abstractmethod
    def _connect_error(self) -> TransportError:
        """Why the link never was up."""

    @abc.abstractmethod
    async def leave(self) -> None:
        """Send what is waiting, then DISCONNECT, and wait until the broker has closed too.

        The trap: closing a socket that still holds unread bytes makes the kernel send a reset,
        which overtakes the DISCONNECT, and the broker publishes the will. So the reader throws
        away what comes until the broker's end of the stream.
        """

    @abc.abstractmethod
    def _take_owed(self) -> Iterable[OnDone]:
        """Everybody who waits for an answer of the broker, in order; they are forgotten."""

    @abc.abstractmethod
    def _publishable(self) -> bool:
        """Whether there is room for one more message."""

    @abc.abstractmethod
    def _ping(self) -> None:
        """Write a PINGREQ, unless the link is ending."""

    @abc.abstractmethod
    def _outflow(self) -> Outflow | None:
        """Ask the kernel what has left; None where it cannot be asked."""

    @abc.abstractmethod
    def _unsent(self) -> int:
        """Bytes written that the kernel has not taken."""

    # -- life

    async def run(
        self, deadline: float, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Connect, report `started`, and live until the link is lost or cancelled.

        Raises:
            ConnectFailed: no CONNACK by `deadline`, or the connection broke before it.
            RejectedByBroker: the CONNACK refuses.
        """
        started = False
        try:
            with self._scope:
                async with self._open(deadline):
                    if self._up:
                        # Trio's `started` does nothing for one who is cancelled, and a shielded
                        # task would then hold up who started it for as long as the link lives.
                        await trio.lowlevel.checkpoint_if_cancelled()
                        # From here on only `_lose` ends the tasks, or a failure: a cancelled
                        # block still needs them, to say goodbye.
                        self._scope.shield = True
                        task_status.started()
                        started = True
                        await self._keep_alive()
        except Exception as error:  # our bug, or a library's; the supervisor will connect again
            logger.exception("a link has failed")
            self._lose(f"the link failed: {error!r}")
        finally:
            self._lose("the link was left")
        if not self._up:
            raise self._connect_error()
        if not started:
            # Up and lost again in one wake-up, as by a session taken over: still a link.
            task_status.started()

    @property
    def broker_limits(self) -> Mapping[str, int]:
        """See `Link.broker_limits`."""
        return self._broker_limits

    def _accept_limits(self, limits: Mapping[str, int]) -> None:
        """What the CONNACK limits; asked once, and not for each message."""
        self._broker_limits = limits
        self._fits_all = limits.get("maximum_qos", 1) > 0 and limits.get("retain_available", 1) > 0

    @property
    def session_expiry(self) -> int:
        """See `Link.session_expiry`."""
        return self._broker_limits.get("session_expiry_interval", self._options.session_expiry)

    @property
    def ended(self) -> trio.Event:
        """See `Link.ended`."""
        return self._ended

    def close(self) -> None:
        """End the tasks, whatever state the link is in; `run` returns soon."""
        self._lose("the link was left")

    def _lose(self, reason: str, *, reason_code: int | None = None, closed: bool = False) -> None:
        """End the link; the first reason stands. See `ConnectionLost` for the rest."""
        if self._lost is not None:
            return
        if self._leaving:
            reason, reason_code, closed = "the link was left", None, False
        self._lost = ConnectionLost(reason, reason_code=reason_code, closed=closed)
        self._ended.set()
        self._scope.cancel()
        self._inbox.tell_loss()
        self._wake_publishers()
        for on_done in self._take_owed():
            on_done(self._gone())

    def _lose_stream(
        self, reason: str, error: BaseException | None, *, speaks_mqtt_5: bool
    ) -> None:
        """The broker has closed the stream, or `error` ended it.

        Before CONNACK that may mean something; what TLS complains of means what it says.
        """
        hint = speaks_mqtt_5 and not self._up and isinstance(error, ConnectionError | None)
        closed = error is None or is_peers_doing(error)
        self._lose(reason + MAYBE_3_1_1_CLOSES if hint else reason, closed=closed)

    def _gone(self) -> ConnectionLost:
        # A new one each time: an exception that is raised twice mixes up its tracebacks.
        assert self._lost is not None
        return copy.copy(self._lost)

    def _loss(self) -> ConnectionLost | None:
        return None if self._lost is None else self._gone()

    def _check_up(self) -> None:
        if self._lost is not None or self._leaving:
            raise self._gone() if self._lost else ConnectionLost("the link is being left")

    # -- reading

    async def receive(self) -> Sequence[Delivery]:
        """See `Link.receive`."""
        return await self._inbox.receive()

    async def deliver(self, sink: Callable[[Sequence[Delivery]], bool]) -> None:
        """See `Link.deliver`."""
        await self._inbox.deliver(sink)

    # -- writing

    async def wait_publishable(self) -> None:
        """See `Link.wait_publishable`."""
        self._check_up()
        await trio.lowlevel.checkpoint()
        self._check_up()
        while not self._publishable():
            await self._publishers.park()
            self._check_up()

    async def publish(self, message: Message, *, limit: float = math.inf) -> None:
        """See `Link.publish`. Reading goes on meanwhile, as the PUBACK comes that way."""
        with self._inbox.answer_awaited():
            await super().publish(message, limit=limit)

    # -- the clock

    @property
    def last_heard(self) -> float:
        """See `Link.last_heard`."""
        return self._watch.heard_at

    def echo(self, *, ask: bool = False) -> tuple[float, float]:
        """See `Link.echo`."""
        if ask and not self._watch.awaits_echo:
            self._send_ping()
        return self._watch.echo_of, self._watch.echo_at

    def patience(self, limit: float, since: float | None = None) -> LinePatience:
        """See `Link.patience`."""
        now = self._look()
        since = now if since is None else since
        return LinePatience(limit, since, self._watch, self._look, self._send_ping)

    async def _wait_connack(self, decided: trio.Event, deadline: float) -> None:
        """Wait until it is decided, or nothing has moved for `connect_timeout`, or to `deadline`.

        A CONNACK stands behind nothing, but a CONNECT may take its time to leave.
        """
        now, limit = self._look(), self._options.connect_timeout
        look, probe = self._look, lambda: None  # before CONNACK there is no PINGREQ
        patience = LinePatience(limit, now, self._watch, look, probe, deadline - now)
        with trio.move_on_at(deadline):
            await wait_within(decided, patience)

    def _look(self) -> float:
        """Let the watchdog know what has left; the time."""
        now = trio.current_time()
        self._watch.look(self._outflow(), now)
        return now

    def _send_ping(self) -> None:
        if not self._leaving and self._lost is None:
            flow, unsent = self._outflow(), self._unsent()
            self._ping()
            self._watch.pinged(trio.current_time(), flow, unsent=unsent)

    async def _keep_alive(self) -> None:
        """Send PINGREQ when it is due, also while reading is paused; notice a dead peer (S9)."""
        watch = self._watch
        while not self._leaving and self._lost is None:
            await trio.sleep_until(watch.deadline())
            # Where something has held up all tasks, an answer may wait to be read: that goes first.
            await trio.lowlevel.checkpoint()
            now = self._look() if watch.wants_look else trio.current_time()
            due = watch.due(now)
            if due == "dead":
                self._lose(f"no sign of life from the broker within {watch.interval:g} s")
            elif due == "ping":
                self._send_ping()
