"""What is examined: the settings and the targets of `petalkit run`, and how to go about it."""

from __future__ import annotations

import os
import pwd
import secrets
from collections.abc import Mapping
from typing import Any

import attrs

from ..._serving.identity.client_id import client_id_of
from ..._values.messages import Identity
from ..._values.settings.settings import Settings
from ...transports import ConnectOptions
from .petals import Served

ECHO_WAIT = 2.0  # seconds for a message that goes to the broker and back
SESSION_KEPT = 3600  # seconds that a session is kept whose device does not say how long
RETAINED_WAIT = 1.0  # seconds for a retained message after the SUBACK


@attrs.frozen(kw_only=True)
class Call:
    """A command to be called, as --call and --data say it."""

    command: str
    data: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Case:
    """See the module.

    Attributes:
        settings: as `petalkit run` would load them.
        identity: None where it is not known.
        as_device: connect under the device's own client ID.
        timeout: seconds for one round trip to the device.
        call: a command more to be called.
        served: what the targets make; None where that is not known.
    """

    settings: Settings
    identity: Identity | None
    as_device: bool = False
    timeout: float = 5.0
    call: Call | None = None
    served: Served | None = None

    def device_client_id(self) -> str | None:
        """The client ID of `petalkit run`; None while it cannot be known."""
        if self.identity is None:
            return self.settings.client_id
        return client_id_of(self.settings, self.identity)

    def observer_options(self) -> ConnectOptions:
        """Of a client of our own, for which nothing is kept."""
        # 22 characters: MQTT 3.1.1 promises 23 (section 3.1.3.1).
        return self._options(f"petalkit-doctor-{secrets.token_hex(3)}", session_expiry=0)

    def options(self) -> ConnectOptions:
        """Of the client that is examined: the observer's, or those of the device's own session.

        That session is never started clean: it may hold commands. With MQTT 5 each CONNECT says
        anew how long it is kept, so it is said as the device says it; where the device keeps none,
        and so one that is there is of other times, long enough for the device to find it.
        """
        client_id = self.device_client_id() if self.as_device else None
        if client_id is None:
            return self.observer_options()
        expiry = self.settings.session_expiry or SESSION_KEPT
        return self._options(client_id, session_expiry=expiry)

    def asking_options(self) -> ConnectOptions:
        """The same, and also the observer asks for a session to be kept as the device does.

        Only so a broker says for how long it keeps one (MQTT 5.0, section 3.2.2.3.2); such a
        session has to be ended again.
        """
        options = self.options()
        settings = self.settings
        if options.session_expiry or not (settings.speaks_mqtt_5 and settings.keeps_session):
            return options
        return attrs.evolve(options, session_expiry=settings.session_expiry)

    def _options(self, client_id: str, *, session_expiry: int) -> ConnectOptions:
        settings = self.settings
        return ConnectOptions(
            client_id=client_id,
            clean_start=session_expiry == 0,
            session_expiry=session_expiry,
            keep_alive=settings.keep_alive,
            receive_maximum=settings.receive_maximum,
            publish_maximum=settings.publish_maximum,
            payload_max=settings.payload_max,
            packet_maximum=settings.packet_maximum,
            will=None,  # nothing is to be said when we go
            connect_timeout=settings.connect_timeout,
            subscribe_timeout=settings.subscribe_timeout,
            disconnect_timeout=settings.disconnect_timeout,
        )


def user_name() -> str:
    """Who we are for the file system; `petalkit run` may be somebody else."""
    number = os.geteuid()
    try:
        return f"user {pwd.getpwuid(number).pw_name!r}"
    except KeyError:
        return f"user {number}"
