"""Calling commands from a program: the other end of a petal.

The client has a client ID of its own, so it never takes over the device's session, and a clean
start, so that nothing is kept for it. Its one task reads responses and gives each to the call
that waits for its `messageId`; what nobody waits for is another client's answer and is ignored.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
import secrets
import uuid
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import attrs
import trio

from .._serving.identity import resolve_identity_now
from .._serving.sending.deferred import wait_after
from .._serving.waiting import beside
from .._values.codec import Limits, Timestamps, decode_response, encode_json
from .._values.dialects import is_receipt, make_dialect
from .._values.errors import (
    ConfigError,
    ConnectionLost,
    ErrorCode,
    PayloadError,
    PetalkitError,
    RejectedByBroker,
    TransportError,
)
from .._values.messages import MAX_EXPIRY, Identity, Message, Properties, Response, UserProperties
from .._values.request import whole_seconds
from .._values.settings.settings import Settings
from .._values.topics import TopicFilter
from ..transports import ConnectOptions, Link, Transport, create_transport
from ..transports._reason_codes import Refusal, refusal_of

logger = logging.getLogger("petalkit.client")

DEFAULT_CALL_TIMEOUT = 30.0  # seconds
# A broker counts whole seconds, and may round down what is left of them. A command that arrives
# with nothing left is not run, and that must not come before its caller has given up.
EXPIRY_MARGIN = 1  # seconds
CONCURRENT_CALLS = 1000  # calls waiting at once on one client; more wait for their turn


class CallTimeout(PetalkitError, trio.TooSlowError):
    """No response came in time. What became of the command is not known.

    Args:
        command: its full name.
        message_id: its ID: a call with the same one asks for the same answer, and does not run the
            command a second time.
        timeout: seconds that the call had.
        sent: whether the command was handed to the broker.
        expires_at: RFC 3339, after which the device does not start it any more; None for never.
    """

    def __init__(
        self, command: str, message_id: str, timeout: float, *, sent: bool, expires_at: str | None
    ) -> None:
        super().__init__(command, message_id, timeout)
        self.command = command
        self.message_id = message_id
        self.timeout = timeout
        self.sent = sent
        self.expires_at = expires_at

    def __str__(self) -> str:
        head = f"no answer to {self.command!r} within {self.timeout:g} s"
        if not self.sent:
            return f"{head}; it was not sent"
        if self.expires_at is None:
            start = "may still start it, however late"
        else:
            start = f"may still run it, and does not start it after {self.expires_at} by its clock"
        return f"{head} (messageId {self.message_id}): the device {start}"


class _Call:
    """One call that waits: for its response, or for the news that none will come."""

    __slots__ = ("error", "news", "refusal", "response", "sent", "settled")

    def __init__(self) -> None:
        self.news = trio.Event()  # it is settled, or the broker wants it later
        self.settled = False
        self.sent = False
        self.response: Response | None = None
        self.error: Exception | None = None
        self.refusal: RejectedByBroker | None = None  # the broker's last word, while it is one

    def refuse(self, error: RejectedByBroker) -> None:
        """The broker wants it later."""
        self.refusal = error
        self.news.set()

    def settle(self, response: Response | None, error: Exception | None) -> None:
        if not self.settled:
            self.settled = True
            self.response, self.error = response, error
            self.news.set()


class Client:
    """Sends commands to one device; made by `open_client`. Any number of tasks may use it.

    Attributes:
        identity: whom it calls.
    """

    def __init__(self, link: Link, identity: Identity, settings: Settings) -> None:
        self.identity = identity
        self._link = link
        self._topic = identity.topic(settings.command_topics[0])
        self._limits = Limits(
            settings.payload_max, max(settings.depth_max, 2), settings.message_id_max
        )
        self._payload_max = settings.payload_max
        self._arguments = make_dialect(settings.dialect, identity.device_id).arguments
        self._speaks_mqtt_5 = settings.speaks_mqtt_5
        self._timestamp = Timestamps()
        self._waiting: dict[str, _Call] = {}
        self._turns = trio.CapacityLimiter(CONCURRENT_CALLS)
        self._closed: Exception | None = None

    async def call(
        self,
        command: str,
        data: Mapping[str, Any] | None = None,
        *,
        timeout: float = DEFAULT_CALL_TIMEOUT,
        message_id: str | None = None,
        user_properties: UserProperties = (),
        expires_in: float | None = None,
    ) -> Response:
        """Send a command and wait for its response. A "no" is a response too: ask `.success`.

        Args:
            command: the full name, such as `"example-petal/hello"`.
            data: the arguments.
            timeout: seconds for everything: the turn, the broker's acknowledgement, the answer.
                `math.inf` waits as long as the link lives. With MQTT 5, what is left of it (or
                of an earlier deadline around the call) goes along as the Message Expiry
                Interval: a command whose caller has given up is not started, one or two
                seconds later.
            message_id: an ID of your own, unique per call; the same ID again asks the device for
                the recorded response of the first time. One is made when there is none.
            user_properties: pairs of your own, or a mapping, for which a handler may ask (MQTT 5).
            expires_in: seconds from now after which the device is not to start it any more. Without
                it, the time that the call has: who has given up does not want the gimbal to move
                later. `math.inf` lets it be started however late. It is sent as `expiresAt`, by the
                clock of this machine, and judged by the device's; with MQTT 5 as the Message Expiry
                Interval too, if it is shorter than the time that is left: in whole seconds, rounded
                up, and one more. When the broker has dropped the command for that, no answer comes.

        When the broker refuses the message for now (a quota, an error without a name), it is sent
        again after a wait, with the same `messageId`, until the response or the time comes.

        Cancellation: the command may have been sent, and may be run by the device.

        Raises:
            CallTimeout: no response came in time; it says what can still happen. It is a
                `trio.TooSlowError`.
            ConnectionLost: the link was lost before the response.
            RejectedByBroker: the broker refused the message for good, or until there was no time.
            PayloadError: `data` cannot be said in JSON, or is over the size bound.
            ValueError: another call waits for the same `message_id`, or a user property or
                `expires_in` cannot be said.
            ConfigError: there are user properties, and the settings' protocol is 3.1.1.
            trio.ClosedResourceError: the client's context has been left.
        """
        if message_id is None:
            message_id = str(uuid.uuid4())
        life = _time_left(timeout) if expires_in is None else _checked(expires_in)
        until = trio.current_time() + life
        payload, expires_at = self._encode(command, data, message_id, life, wait_response=True)
        properties = self._properties(user_properties)
        call = _Call()
        with trio.move_on_after(timeout) as scope:
            async with self._turns:
                if message_id in self._waiting:
                    raise ValueError(f"another call waits for messageId {message_id!r} already")
                self._waiting[message_id] = call
                try:
                    # The response may be faster than the PUBACK, and is all that counts.
                    await self._publish(payload, properties, until, call)
                    await self._wait_settled(payload, properties, until, call)
                finally:
                    del self._waiting[message_id]
        if scope.cancelled_caught:
            if call.refusal is not None:
                raise call.refusal
            raise CallTimeout(command, message_id, timeout, sent=call.sent, expires_at=expires_at)
        if call.error is not None:
            raise call.error
        assert call.response is not None
        return call.response

    async def send(
        self,
        command: str,
        data: Mapping[str, Any] | None = None,
        *,
        user_properties: UserProperties = (),
        expires_in: float | None = None,
    ) -> None:
        """Send a command that nobody answers; returns at the broker's acknowledgement.

        Has no time limit of its own: put `trio.fail_after` around it. The arguments are those of
        `call`; without `expires_in` the device starts it however late it comes.

        Cancellation: the command may or may not have been sent.

        Raises:
            ConnectionLost: the link was lost before the acknowledgement.
            RejectedByBroker: the broker refused the message, for good or for now.
            PayloadError: `data` cannot be said in JSON, or is over the size bound.
            ConfigError, ValueError: as `call`.
            trio.ClosedResourceError: the client's context has been left.
        """
        life = math.inf if expires_in is None else _checked(expires_in)
        until = trio.current_time() + life
        payload, _ = self._encode(command, data, str(uuid.uuid4()), life, wait_response=False)
        properties = self._properties(user_properties)
        if properties is not None:
            properties = _expiring(properties, until)
        self._check_open()
        await self._link.publish(Message(self._topic, payload, 1, False, properties))

    def _properties(self, user_properties: UserProperties) -> Properties | None:
        properties = Properties(user_properties=user_properties)
        if not self._speaks_mqtt_5:
            if properties.user_properties:
                raise ConfigError("protocol", "is 3.1.1, which has no user properties")
            return None
        properties.check_sendable()
        return properties

    def _encode(
        self,
        command: str,
        data: Mapping[str, Any] | None,
        message_id: str,
        life: float,
        *,
        wait_response: bool,
    ) -> tuple[bytes, str | None]:
        """The payload, and its `expiresAt`: `life` seconds from now."""
        now = self._timestamp.now()
        envelope = {
            "command": command,
            "messageId": message_id,
            "waitResponse": wait_response,
            "deviceId": self.identity.device_id,
            self._arguments: {} if data is None else data,
            "timestamp": self._timestamp.text(now),
        }
        expires_at = None
        if life <= MAX_EXPIRY:
            envelope["expiresAt"] = expires_at = self._timestamp.text(now + life)
        payload = encode_json(envelope)
        if len(payload) > self._payload_max:
            raise PayloadError(
                ErrorCode.TOO_LARGE,
                f"the command has {len(payload)} bytes; payload_max allows {self._payload_max}",
            )
        return payload, expires_at

    def _check_open(self) -> None:
        if self._closed is not None:
            raise self._closed

    async def _publish(
        self, payload: bytes, properties: Properties | None, until: float, call: _Call
    ) -> None:
        def on_done(error: TransportError | None) -> None:
            if error is None:
                call.refusal = None  # from here on it is the device that has not answered
            elif isinstance(error, RejectedByBroker) and _wants_it_later(error):
                call.refuse(error)
            else:
                call.settle(None, error)

        while True:
            self._check_open()
            try:
                deadline = min(until, trio.current_effective_deadline())
                expiring = None if properties is None else _expiring(properties, deadline)
                self._link.publish_nowait(
                    Message(self._topic, payload, 1, False, expiring), on_done
                )
            except trio.WouldBlock:
                await self._link.wait_publishable()
            else:
                call.sent = True
                return

    async def _wait_settled(
        self, payload: bytes, properties: Properties | None, until: float, call: _Call
    ) -> None:
        """Wait for the end of a call; send it again while the broker refuses it for now.

        The device knows a copy by its `messageId`: it runs once, though the broker may have passed
        on what it has refused.
        """
        tries = 0
        while True:
            await call.news.wait()
            if call.settled:
                return
            call.news = trio.Event()
            tries += 1
            with trio.move_on_after(wait_after(tries, random.random)):
                await call.news.wait()
            if not call.settled:
                await self._publish(payload, properties, until, call)

    async def _take_responses(self) -> None:
        """Give responses to their calls until the link is lost; then fail those that wait."""
        try:
            while True:
                for delivery in await self._link.receive():
                    delivery.ack()
                    if delivery.fault is None:
                        self._settle(delivery.payload)
                    else:
                        text = delivery.fault.text
                        logger.warning("ignored a response that cannot be read: %s", text)
        except ConnectionLost as error:
            self._close(error)

    def _settle(self, payload: bytes) -> None:
        try:
            response = decode_response(payload, self._limits)
        except PayloadError as error:
            # Not answerable and not ours to judge: the call it may belong to runs into its limit.
            logger.warning("ignored a response that cannot be read: %s", error.message)
            return
        if is_receipt(response.fields):
            return  # the response is still to come
        message_id = response.message_id
        call = self._waiting.get(message_id) if isinstance(message_id, str) else None
        if call is not None:
            call.settle(response, None)

    def _close(self, error: Exception) -> None:
        if self._closed is None:
            self._closed = error
        for call in self._waiting.values():
            call.settle(None, error)


def _wants_it_later(error: RejectedByBroker) -> bool:
    return refusal_of(error.reason_code) is not Refusal.FINAL


def _time_left(timeout: float) -> float:
    """Seconds until a call that begins now is given up, by its own limit or one around it."""
    return max(0.0, min(timeout, trio.current_effective_deadline() - trio.current_time()))


def _checked(expires_in: float) -> float:
    """The same.

    Raises:
        ValueError: that is no time that can be sent.
    """
    if not (0 < expires_in <= MAX_EXPIRY or expires_in == math.inf):
        text = f"expires_in must be seconds above 0, or math.inf, not {expires_in!r}"
        raise ValueError(text)
    return expires_in


def _expiring(properties: Properties, deadline: float) -> Properties:
    """The same, and what is left now until a moment on Trio's clock."""
    left = max(0.0, round(deadline - trio.current_time(), 3))
    return attrs.evolve(properties, message_expiry=whole_seconds(left + EXPIRY_MARGIN))


@contextlib.asynccontextmanager
async def open_client(
    settings: Settings,
    *,
    identity: Identity | None = None,
    transport: Transport | None = None,
) -> AsyncGenerator[Client, None]:
    """Connect, subscribe to the device's responses, and give a `Client`; leaving disconnects.

    Entering blocks until the subscription is acknowledged. The settings' `connect_timeout` and
    `subscribe_timeout` bound it; both are limits of silence on a slow line. Leaving blocks for
    DISCONNECT, at most `disconnect_timeout`. Calls that still wait when the block is left fail with
    `trio.ClosedResourceError`. A lost link is not made anew: open another client.

    Args:
        settings: the broker and the topics; `client_id` is not used.
        identity: whom to call; None takes it from the settings.
        transport: None makes the one that the settings name.

    Raises:
        ConfigError: the settings cannot work, or no organization ID is known.
        ConnectFailed: no connection to the broker.
        RejectedByBroker: it said no.
        ConnectionLost: the link was lost while subscribing.
    """
    if identity is None:
        identity = resolve_identity_now(settings)
    if identity is None:
        raise ConfigError(
            "organization_id",
            f"is not known: set it, or organization_file (now {str(settings.organization_file)!r})",
        )
    if transport is None:
        if settings.transport == "sidecar":
            raise ConfigError(
                "transport",
                "cannot be sidecar for a caller, which needs a connection to the broker itself",
            )
        transport = create_transport(settings)
    async with transport.connect(_connect_options(settings)) as link:
        await link.subscribe([TopicFilter(identity.topic(settings.response_topic))])
        client = Client(link, identity, settings)
        take = client._take_responses  # pyright: ignore[reportPrivateUsage]
        async with beside(take, "petalkit client responses"):
            try:
                yield client
            finally:
                client._close(trio.ClosedResourceError("the client's context has been left"))  # pyright: ignore[reportPrivateUsage]


def _connect_options(settings: Settings) -> ConnectOptions:
    # 22 characters: MQTT 3.1.1 promises 23 (section 3.1.3.1).
    client_id = f"petalkit-call-{secrets.token_hex(4)}"
    return ConnectOptions(
        client_id=client_id,
        clean_start=True,
        session_expiry=0,
        keep_alive=settings.keep_alive,
        receive_maximum=settings.receive_maximum,
        publish_maximum=settings.publish_maximum,
        payload_max=settings.payload_max,
        packet_maximum=settings.packet_maximum,
        will=None,
        connect_timeout=settings.connect_timeout,
        subscribe_timeout=settings.subscribe_timeout,
        disconnect_timeout=settings.disconnect_timeout,
    )
