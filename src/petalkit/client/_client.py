"""`Client`: sending a command, and waiting for what becomes of it.

The rule: the response counts, however the broker's acknowledgement went; and what the broker
refuses for now is sent again as the same command, which the device runs once.
"""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Mapping
from typing import Any

import trio

from .._serving.sending.state.deferred import wait_after
from .._values.errors import RejectedByBroker, TransportError
from .._values.messages import Identity, Properties, Response, UserProperties
from .._values.settings.settings import Settings
from ..transports import Link
from ..transports._reason_codes import Refusal, refusal_of
from ._calls import Call, Calls
from ._commands import CommandEncoder, checked, time_left
from ._errors import CallTimeout

DEFAULT_CALL_TIMEOUT = 30.0  # seconds
CONCURRENT_CALLS = 1000  # calls waiting at once on one client; more wait for their turn


class Client:
    """Sends commands to one device; made by `open_client`. Any number of tasks may use it.

    Attributes:
        identity: whom it calls.
    """

    def __init__(self, link: Link, identity: Identity, settings: Settings, calls: Calls) -> None:
        self.identity = identity
        self._link = link
        self._calls = calls
        self._commands = CommandEncoder(identity, settings)
        self._turns = trio.CapacityLimiter(CONCURRENT_CALLS)

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
        life = time_left(timeout) if expires_in is None else checked(expires_in)
        until = trio.current_time() + life
        payload, expires_at = self._commands.encode(
            command, data, message_id, life, wait_response=True
        )
        properties = self._commands.properties(user_properties)
        call = Call()
        with trio.move_on_after(timeout) as scope:
            async with self._turns:
                if message_id in self._calls.waiting:
                    raise ValueError(f"another call waits for messageId {message_id!r} already")
                self._calls.waiting[message_id] = call
                try:
                    # The response may be faster than the PUBACK, and is all that counts.
                    await self._publish(payload, properties, until, call)
                    await self._wait_settled(payload, properties, until, call)
                finally:
                    del self._calls.waiting[message_id]
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
        life = math.inf if expires_in is None else checked(expires_in)
        until = trio.current_time() + life
        payload, _ = self._commands.encode(
            command, data, str(uuid.uuid4()), life, wait_response=False
        )
        properties = self._commands.properties(user_properties)
        message = self._commands.message(payload, properties, until)
        self._calls.check_open()
        await self._link.publish(message)

    async def _publish(
        self, payload: bytes, properties: Properties | None, until: float, call: Call
    ) -> None:
        def on_done(error: TransportError | None) -> None:
            if error is None:
                call.refusal = None  # from here on it is the device that has not answered
            elif isinstance(error, RejectedByBroker) and _wants_it_later(error):
                call.refuse(error)
            else:
                call.settle(None, error)

        while True:
            self._calls.check_open()
            try:
                deadline = min(until, trio.current_effective_deadline())
                message = self._commands.message(payload, properties, deadline)
                self._link.publish_nowait(message, on_done)
            except trio.WouldBlock:
                await self._link.wait_publishable()
            else:
                call.sent = True
                return

    async def _wait_settled(
        self, payload: bytes, properties: Properties | None, until: float, call: Call
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


def _wants_it_later(error: RejectedByBroker) -> bool:
    return refusal_of(error.reason_code) is not Refusal.FINAL
