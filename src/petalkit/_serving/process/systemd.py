"""Telling systemd how the service is: ready, stopping, alive, and a line for `systemctl status`.

The protocol is one datagram of `NAME=value` lines to the socket of `NOTIFY_SOCKET` (sd_notify(3));
without that variable nothing is sent. The rules: nothing waits for systemd, and `WATCHDOG=1` is
sent by a Trio task, so that a blocked event loop is what the watchdog finds. The trap: a child
that inherits the variable can speak for the service, so it is taken out of the environment.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Mapping

import trio

logger = logging.getLogger("petalkit.runtime")

STATUS_INTERVAL = 5.0  # seconds between two looks at what the status line should say
_ADDRESS, _WATCHDOG, _WATCHDOG_OF = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"


class Systemd:
    """See the module. Made by `from_environment`, and used by one task or several.

    Args:
        address: of the socket; None when nobody listens.
        watchdog: seconds in which systemd wants a sign of life; None when it wants none.
    """

    def __init__(self, address: str | None, watchdog: float | None = None) -> None:
        self._address = address
        self.watchdog = watchdog
        self._told = ""

    @classmethod
    def from_environment(cls) -> Systemd:
        """As systemd started this process; takes what it said out of the environment."""
        address = os.environ.pop(_ADDRESS, "")
        microseconds = os.environ.pop(_WATCHDOG, "")
        process = os.environ.pop(_WATCHDOG_OF, "")
        watchdog = None
        if microseconds.isdecimal() and int(microseconds) and process in ("", str(os.getpid())):
            watchdog = int(microseconds) / 1e6
        if address and address[0] not in "/@":
            logger.warning("%s is no address of a Unix socket: nothing is told to it", _ADDRESS)
            address = ""
        return cls(address or None, watchdog)

    def tell(self, fields: Mapping[str, str]) -> None:
        """Send these fields, if somebody listens. Never waits, and never raises."""
        if self._address is None:
            return
        # An abstract one is written with @ in place of its null character.
        address = self._address.replace("@", "\0", 1) if self._address[0] == "@" else self._address
        text = "".join(f"{name}={value}\n" for name, value in fields.items())
        with (
            contextlib.suppress(OSError),  # a sign of life more or less
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
        ):
            sock.setblocking(False)
            sock.sendto(text.encode(errors="replace"), address)

    def ready(self, status: str) -> None:
        """The petals are served, or will be as soon as there is a link."""
        self._told = status
        self.tell({"READY": "1", "STATUS": status})

    def stopping(self, limit: float) -> None:
        """The stop has begun, and takes `limit` seconds at most."""
        microseconds = str(round(limit * 1e6))
        self.tell({"STOPPING": "1", "STATUS": "stopping", "EXTEND_TIMEOUT_USEC": microseconds})

    async def keep_telling(self, status: Callable[[], str | None]) -> None:
        """Give signs of life, and the status whenever it has changed, until cancelled.

        Args:
            status: what it is now; None for nothing to say.
        """
        if self._address is None:
            return
        # Half of the limit, as sd_watchdog_enabled(3) advises.
        interval = min(STATUS_INTERVAL, (self.watchdog or 2 * STATUS_INTERVAL) / 2)
        while True:
            fields = {} if self.watchdog is None else {"WATCHDOG": "1"}
            text = status()
            if text is not None and text != self._told:
                self._told = fields["STATUS"] = text
            if fields:
                self.tell(fields)
            await trio.sleep(interval)
