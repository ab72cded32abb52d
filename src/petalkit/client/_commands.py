"""The part of `Client` that sends commands: what each method promises, in words for its users."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import trio

from .._values.messages import Identity, Response, UserProperties
from .._values.settings.settings import Settings
from ._reading.told import Readers
from ._trying import Policy, Tries
from ._wire.calling import Calling
from ._wire.commands import Terms

DEFAULT_CALL_TIMEOUT = 30.0  # seconds


class Commands:
    """Sends commands; see `Client`.

    Args:
        calling: sends one.
        settings: how often one is tried again.
        readers: hear of second phases.

    Attributes:
        identity: the device for which the client was opened.
    """

    def __init__(self, calling: Calling, settings: Settings, readers: Readers) -> None:
        self.identity = calling.identity
        self._calling = calling
        self._settings = settings
        self._tries = Tries(calling, readers)

    async def call(
        self,
        command: str,
        data: Mapping[str, Any] | None = None,
        *,
        device: str | Identity | None = None,
        timeout: float = DEFAULT_CALL_TIMEOUT,
        message_id: str | None = None,
        user_properties: UserProperties = (),
        expires_in: float | None = None,
        retries: int | None = None,
        repeatable: bool = False,
        second_phase: bool = False,
    ) -> Response:
        """Send a command, and return the response of its success.

        Args:
            command: the full name, such as `"example-petal/hello"`.
            data: the arguments.
            device: which one.
            timeout: seconds for everything: the turn, the broker's acknowledgement, the answer,
                what is sent again. `math.inf` waits as long as the client is open.
            message_id: see `request`. With one of your own, no other is tried.
            user_properties: see `request`.
            expires_in: see `request`.
            retries: how often at most a "no" is tried again that can become a yes; None for
                `call_retries`. Of those that say `"retry": "same_id"`, under the same `messageId`;
                of `BUSY`, which starts nothing, under another one where it says so.
            repeatable: whether the command may be run more than once. Then all that is retryable
                is tried again, though it may have done part of its work.
            second_phase: whether to wait for the second answer of a command that has two.

        A lost link is made anew, and the command is sent again under the same `messageId`: the
        device runs it once.

        Cancellation: the command may have been sent, and may be run by the device.

        Raises:
            CommandRefused: the device said no; see its subclasses.
            CallTimeout: no response came in time; it says what can still happen. It is a
                `trio.TooSlowError`.
            RejectedByBroker: the broker refused the message for good, or until there was no time.
            PayloadError: `data` cannot be encoded as JSON, or is over the size bound; or the
                response cannot be read.
            ValueError: another call waits for the same `message_id`, or a user property or
                `expires_in` cannot be said.
            TopicError: `device` cannot stand in a topic.
            ConfigError: there are user properties, and the settings' protocol is 3.1.1.
            ConnectionLost: the link was lost, and the client was opened with `reconnect=False`.
            trio.ClosedResourceError: the client's context has been left.
        """
        calling = self._calling
        route = calling.route(device)
        own_id = message_id is not None
        terms = self._terms(timeout, message_id, user_properties, expires_in, second_phase)
        if second_phase:
            response = await self._tries.request(route, command, data, terms)
        else:
            response = await calling.request(route, command, data, terms)
        if response.success:
            return response
        left = self._settings.call_retries if retries is None else retries
        policy = Policy(left, repeatable, own_id)
        return await self._tries.again(route, command, data, terms, response, policy)

    async def request(
        self,
        command: str,
        data: Mapping[str, Any] | None = None,
        *,
        device: str | Identity | None = None,
        timeout: float = DEFAULT_CALL_TIMEOUT,
        message_id: str | None = None,
        user_properties: UserProperties = (),
        expires_in: float | None = None,
        second_phase: bool = False,
    ) -> Response:
        """Send a command once and return its response. A "no" is a response too: ask `.success`.

        Args:
            command: the full name.
            data: the arguments.
            device: which one.
            timeout: seconds for everything. With MQTT 5, what is left of it (or of an earlier
                deadline around the call) goes along as the Message Expiry Interval: a command
                whose caller has given up is not started, one or two seconds later.
            message_id: an ID of your own, unique per call; the same ID again asks the device for
                the recorded response of the first time. One is made when there is none.
            user_properties: pairs of your own, or a mapping, for which a handler may ask (MQTT 5).
            expires_in: seconds from now after which the device is not to start it any more. Without
                it, the time that the call has: who has given up does not want the gimbal to move
                later. `math.inf` lets it be started however late. It is sent as `expiresAt`, by the
                clock of this machine, and judged by the device's; with MQTT 5 as the Message Expiry
                Interval too, if it is shorter than the time that is left: in whole seconds, rounded
                up, and one more. When the broker has dropped the command for that, no answer comes.
            second_phase: see `call`.

        When the broker refuses the message for now (a quota, an error without a name), it is sent
        again after a wait, with the same `messageId`, until the response or the time comes.

        Cancellation: as `call`.

        Raises:
            CallTimeout, RejectedByBroker, PayloadError, ValueError, TopicError, ConfigError: as
                `call`.
            ConnectionLost, trio.ClosedResourceError: as `call`.
        """
        terms = self._terms(timeout, message_id, user_properties, expires_in, second_phase)
        return await self._tries.request(self._calling.route(device), command, data, terms)

    async def send(
        self,
        command: str,
        data: Mapping[str, Any] | None = None,
        *,
        device: str | Identity | None = None,
        user_properties: UserProperties = (),
        expires_in: float | None = None,
    ) -> None:
        """Send a command that nobody answers; returns at the broker's acknowledgement.

        Has no time limit of its own: put `trio.fail_after` around it. The arguments are those of
        `request`; without `expires_in` the device starts it however late it comes.

        Cancellation: the command may or may not have been sent.

        Raises:
            RejectedByBroker: the broker refused the message, for good or for now.
            PayloadError: `data` cannot be encoded as JSON, or is over the size bound.
            ConfigError, ValueError, TopicError: as `call`.
            ConnectionLost, trio.ClosedResourceError: as `call`.
        """
        terms = self._terms(math.inf, None, user_properties, expires_in, False)
        await self._calling.send(self._calling.route(device), command, data, terms)

    def _terms(
        self,
        timeout: float,
        message_id: str | None,
        user_properties: UserProperties,
        expires_in: float | None,
        second_phase: bool,
    ) -> Terms:
        if message_id is None:
            message_id = self._calling.new_id()
        begun = trio.current_time()
        return Terms(begun, timeout, message_id, user_properties, expires_in, 1 + second_phase)
