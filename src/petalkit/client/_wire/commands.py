"""A command as a message: its envelope, its properties, and until when it is wanted.

The rule: who has given up does not want the command to be started later. So each says until when,
by the clock of this machine, and with MQTT 5 by what is left for the broker to count. The trap is
that a broker counts whole seconds: see `EXPIRY_MARGIN`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import trio

from ..._values.codec import Timestamps, encode_json
from ..._values.dialects import make_dialect
from ..._values.errors import ConfigError, ErrorCode, PayloadError
from ..._values.messages import MAX_EXPIRY, Properties, UserProperties
from ..._values.request import whole_seconds
from ..._values.settings.settings import Settings

# A broker counts whole seconds, and may round down what is left of them. A command that arrives
# with nothing left is not run, and that must not come before its caller has given up.
EXPIRY_MARGIN = 1  # seconds
CORRELATION_MAX = 1024  # bytes
_NOTHING: Mapping[str, Any] = {}


class Terms(NamedTuple):
    """On what terms a command is sent.

    Attributes:
        begun: Trio's clock, now.
        timeout: seconds for everything.
        message_id: of the command.
        user_properties: of MQTT 5.
        expires_in: seconds; None for as long as the call waits.
        phases: 2 to wait for the second answer of a command that has two.
    """

    begun: float
    timeout: float
    message_id: str
    user_properties: UserProperties = ()
    expires_in: float | None = None
    phases: int = 1


class Sent(NamedTuple):
    """What one call says, and may say again.

    Attributes:
        command: the full name.
        data: the arguments.
        message_id: of the command.
        until: Trio's clock; after it the device is not to start it.
        lasts: Trio's clock; after it nobody wants it any more, which the broker is to count.
        properties: of MQTT 5, without those that say how to answer; None with 3.1.1.
    """

    command: str
    data: Mapping[str, Any] | None
    message_id: str
    until: float
    lasts: float
    properties: Properties | None


class CommandEncoder:
    """Makes the payloads of commands."""

    def __init__(self, settings: Settings) -> None:
        self._payload_max = settings.payload_max
        self._arguments = make_dialect(settings.dialect, "").arguments
        self._speaks_mqtt_5 = settings.speaks_mqtt_5
        # Each keeps the second that it has told last.
        self._timestamp, self._expiry = Timestamps(), Timestamps()

    def encode(
        self, device_id: str, sent: Sent, *, wait_response: bool
    ) -> tuple[bytes, str | None]:
        """The payload, and its `expiresAt`.

        Raises:
            PayloadError: JSON cannot say it, or it is over the size bound.
        """
        now = self._timestamp.now()
        envelope = {
            "command": sent.command,
            "messageId": sent.message_id,
            "waitResponse": wait_response,
            "deviceId": device_id,
            self._arguments: _NOTHING if sent.data is None else sent.data,
            "timestamp": self._timestamp.text(now),
        }
        expires_at = None
        life = sent.until - trio.current_time()
        if life <= MAX_EXPIRY:
            envelope["expiresAt"] = expires_at = self._expiry.text(now + life)
        payload = encode_json(envelope)
        if len(payload) > self._payload_max:
            raise PayloadError(
                ErrorCode.TOO_LARGE,
                f"the command has {len(payload)} bytes; payload_max allows {self._payload_max}",
            )
        return payload, expires_at

    def properties(self, user_properties: UserProperties) -> Properties | None:
        """What goes along with a command; None with MQTT 3.1.1.

        Raises:
            ConfigError, ValueError: there are user properties that cannot be sent.
        """
        if not self._speaks_mqtt_5:
            if user_properties and Properties(user_properties=user_properties).user_properties:
                raise ConfigError("protocol", "is 3.1.1, which has no user properties")
            return None
        if user_properties == ():
            return _NO_PROPERTIES
        properties = Properties(user_properties=user_properties)
        properties.check_sendable()
        return properties


_NO_PROPERTIES = Properties()


def with_expiry(
    properties: Properties, deadline: float, topic: str | None = None, data: bytes | None = None
) -> Properties:
    """The same, with what is left until a moment on Trio's clock for the broker to count.

    Args:
        properties: those of the caller.
        deadline: the moment.
        topic: where to answer.
        data: what to find in the answer.
    """
    left = max(0.0, round(deadline - trio.current_time(), 3))
    expiry = whole_seconds(left + EXPIRY_MARGIN)
    if data is not None and len(data) > CORRELATION_MAX:
        data = None  # then the messageId has to do
    # All of it is known to be good, and this is done for each call: so nothing is checked again.
    found = object.__new__(Properties)
    put = object.__setattr__
    put(found, "response_topic", topic)
    put(found, "correlation_data", data)
    put(found, "message_expiry", expiry)
    put(found, "content_type", properties.content_type)
    put(found, "user_properties", properties.user_properties)
    return found


def checked(expires_in: float) -> float:
    """The same.

    Raises:
        ValueError: that is no time that can be sent.
    """
    if not (0 < expires_in <= MAX_EXPIRY or expires_in == math.inf):
        text = f"expires_in must be seconds above 0, or math.inf, not {expires_in!r}"
        raise ValueError(text)
    return expires_in
