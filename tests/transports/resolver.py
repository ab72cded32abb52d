"""A resolver that leads every name to this machine, for tests of names. Trio's, for one run."""

from __future__ import annotations

import socket
from typing import Any

import trio


class Resolver(trio.abc.HostnameResolver):
    """Every name is 127.0.0.1."""

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        family: int = 0,
        type: int = 0,  # noqa: A002 - Trio's name for it
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """See `trio.abc.HostnameResolver`."""
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        """See `trio.abc.HostnameResolver`; nobody asks."""
        raise NotImplementedError
