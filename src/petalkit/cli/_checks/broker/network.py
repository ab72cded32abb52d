"""The way to the broker: its address, its name, and a connection, before anything is said on it."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import attrs
import trio

from ...._values.errors import ConfigError, ConnectFailed
from ...._values.settings.proxies import PROXY_OFF
from ...._values.settings.settings import Settings
from ....transports._connecting.credentials import CredentialsFailed, renew_from_files
from ....transports._connecting.proxy_tunnel import TunnelRefused
from ....transports._connecting.sockets import PlainStream, open_plain_socket
from ....transports._connecting.tls import (
    Address,
    broker_address,
    is_loopback,
    with_present_credentials,
)
from ..case import user_name
from ..values import Check, failed, listed, ok

_ASK_THE_PROXY = "Ask whoever runs the proxy; --proxy off goes without it, where that is allowed."
_TUNNEL_TODO = {
    403: "Let the proxy allow CONNECT to that host and port; many allow port 443 only.",
    407: "Set PETALKIT_PROXY_CREDENTIALS to name:password.",
    502: "Compare host and port of broker with what the proxy can reach.",
    503: "Compare host and port of broker with what the proxy can reach.",
    504: "Compare host and port of broker with what the proxy can reach.",
}
_DEFAULT_BROKER = attrs.fields(Settings).broker.default


async def check_network(settings: Settings) -> tuple[Address | None, Check]:
    """The broker's address, and whether somebody listens there; None where nobody does.

    Bounded by twice `connect_timeout`.
    """
    try:
        address = broker_address(settings)
    except ConfigError as error:
        return None, failed("network", str(error), _address_todo(error))
    if address.proxy is not None:
        try:
            present = renew_from_files(settings, ("proxy_credentials",))
        except CredentialsFailed as error:
            return None, failed("network", str(error))
        address = with_present_credentials(address, present)
    if address.path is not None:
        problem = _socket_problem(Path(address.path))
        if problem is not None:
            return None, failed("network", *problem)
        names = ""
    else:
        where = address if address.proxy is None else address.proxy
        try:
            names = await _resolve(where.host, where.port, settings.connect_timeout)
        except _Unresolved as error:
            return None, failed("network", str(error), *error.todo)
    started = trio.current_time()
    peer = None
    try:
        with trio.move_on_after(settings.connect_timeout):
            async with PlainStream(await open_plain_socket(address)):
                peer = trio.current_time() - started
    except TunnelRefused as error:
        return None, failed("network", str(error), _TUNNEL_TODO.get(error.status, _ASK_THE_PROXY))
    except ConnectFailed as error:
        return None, failed("network", _why(error, address), *_connect_todo(error, settings))
    through = "" if address.proxy is None else f" through the proxy {address.proxy}"
    if peer is None:
        limit = f"{settings.connect_timeout:g} s"
        text = f"no answer from {address}{through} within {limit}{names}"
        return None, failed("network", text, *_silence_todo(address))
    text = f"connected to {address}{through} in {peer * 1000:.0f} ms{names}"
    if not (address.tls or address.path or is_loopback(address.host)):
        text += "; plain TCP: everything is sent in the clear, as allow_insecure says"
    return address, ok("network", text)


def _address_todo(error: ConfigError) -> str:
    if "allow_insecure" in error.reason:
        return (
            "Write mqtts:// and the TLS port, mostly 8883; or set allow_insecure, on a network "
            "that you trust."
        )
    if error.setting == "proxy":
        return "Write proxy as http://HOST:PORT, or off."
    if error.setting == "websocket_headers_file":
        return "Write ws:// or wss:// in broker, or leave websocket_headers_file out."
    if error.setting != "broker":
        return f"Write mqtts:// in broker, or leave {error.setting} out."
    return (
        "Write broker as mqtt://HOST:PORT, mqtts://HOST:PORT, ws://HOST:PORT/PATH, "
        "wss://HOST:PORT/PATH or unix:///PATH."
    )


# -- names


class _Unresolved(Exception):
    def __init__(self, text: str, *todo: str) -> None:
        super().__init__(text)
        self.todo = todo


async def _resolve(host: str, port: int, timeout: float) -> str:
    """The IP addresses, as an addition to a text; empty where the host is one itself."""
    found: list[str] | None = None
    try:
        with trio.move_on_after(timeout):
            answers = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = list(dict.fromkeys(str(one[4][0]) for one in answers))
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        todo = "Compare the host name letter by letter."
        if getattr(error, "errno", None) == socket.EAI_AGAIN:
            todo = "No name server answers: is the network up, and is /etc/resolv.conf right?"
        raise _Unresolved(f"the name {host!r} leads nowhere: {reason}", todo) from None
    if found is None:
        text = f"no name server answers for {host!r} within {timeout:g} s"
        raise _Unresolved(text, "Is the network up, and is /etc/resolv.conf right?")
    return "" if found == [host] else f" ({host} is {listed(found)})"


# -- sockets


def _socket_problem(path: Path) -> tuple[str, str] | None:
    """Why a Unix socket cannot be used, as far as can be said without connecting."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return (
            f"the socket {path} cannot be reached by {user_name()}: {error.strerror}",
            "Start the broker, or name the socket that it listens on.",
        )
    if not stat.S_ISSOCK(mode):
        return f"{path} is no socket", "Name the socket that the broker listens on."
    if not os.access(path, os.W_OK, effective_ids=True):
        return (
            f"{user_name()} may not write to the socket {path} (mode {stat.S_IMODE(mode):04o})",
            "Let the user that `petalkit run` runs as write to it.",
        )
    return None


def _why(error: BaseException, address: Address) -> str:
    """The reasons alone: Trio tells the address once more, and for each that it tried."""
    reasons = dict.fromkeys(map(os.strerror, _errnos(error)))
    where = address if address.proxy is None else f"the proxy {address.proxy}"
    return f"no connection to {where}: {', '.join(reasons)}" if reasons else str(error)


def _connect_todo(error: BaseException, settings: Settings) -> list[str]:
    """What to do when a socket could not be connected."""
    numbers = set(_errnos(error))
    todo: list[str] = []
    if settings.proxy not in (None, PROXY_OFF):
        todo.append(
            "Check host and port of the proxy: proxy, or HTTPS_PROXY; --proxy off for none."
        )
    elif errno.ECONNREFUSED in numbers or errno.ECONNRESET in numbers:
        todo.append(
            "Nothing listens there: is the broker running, and is the port right? 1883 is plain, "
            "8883 is TLS, and WebSockets have ports of their own."
        )
    elif numbers & {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN}:
        todo.append("There is no way to that address: is the network up, and the route right?")
    else:
        todo.append("Check host and port of broker.")
    if settings.broker == _DEFAULT_BROKER:
        todo.append("broker is not set, so this is the default: set it if the broker is elsewhere.")
    return todo


def _silence_todo(address: Address) -> list[str]:
    todo = ["A firewall drops it, or the address is another's: check host and port."]
    if address.port == 8883:
        todo.append("AWS IoT Core can also be reached on port 443, with alpn x-amzn-mqtt-ca.")
    return todo


def _errnos(error: BaseException | None) -> Iterator[int]:
    """Of every OSError behind an error: Trio tells of each address it tried in a group."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _errnos(one)
    if isinstance(error, OSError) and error.errno is not None:
        yield error.errno
    if error is not None and error.__cause__ is not None:
        yield from _errnos(error.__cause__)
