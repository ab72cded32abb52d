"""The external client of the transport `sidecar`, and where its messages are to come in.

The trap: to subscribe and unsubscribe through that client, as a check of a broker does, would take
the topics from the device that runs. So this asks two addresses for their health, and binds a
socket on which it never listens: nothing is subscribed, published or accepted.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from urllib.parse import quote

import attrs
import httpx
import msgspec
import trio

from ...._values.errors import ConfigError
from ...._values.settings.settings import Settings
from ....transports._connecting.credentials import (
    SIDECAR_SECRETS,
    CredentialsFailed,
    renew_from_files,
)
from ....transports._connecting.tls import is_loopback, tls_context
from ....transports.sidecar._addresses import (
    CALLBACK_PATH,
    Addresses,
    callback_url,
    check_renewed_token,
)
from ....transports.sidecar._addresses import sidecar_addresses as read_addresses
from ....transports.sidecar._answers import Away, Unreachable, describe_answer
from ....transports.sidecar._client import ask, name_checked, verify_with
from ..values import Check, counted, failed, ok, shortened, skipped, warning

CALLBACK_TIMEOUT = 2.0  # seconds for whoever has our address
NAME_TIMEOUT = 5.0  # seconds for a name server
_SHOWN = 200  # characters of what the client says of itself
_DEFAULT_URL = attrs.fields(Settings).sidecar_url.default
_ANOTHER = "choose another address with --callback-listen (setting callback_listen)."


async def check_sidecar(
    settings: Settings, *, certificates_failed: bool
) -> tuple[Addresses | None, Check]:
    """Both addresses, and what the client says of its health; None where one cannot be read.

    Bounded by `sidecar_probe_timeout`.
    """
    given = settings
    try:
        addresses = read_addresses(settings)
    except ConfigError as error:
        return None, failed("sidecar", str(error), _address_todo(error))
    if addresses.tls and certificates_failed:
        return addresses, skipped("sidecar", "the certificates cannot be used")
    try:
        settings = renew_from_files(settings, SIDECAR_SECRETS)
        check_renewed_token(given, settings)
        context = tls_context(settings) if addresses.tls else None
    except CredentialsFailed as error:
        return addresses, failed("sidecar", str(error), f"Correct {error.setting}.")
    return addresses, await _ask_sidecar(settings, addresses, context)


def _address_todo(error: ConfigError) -> str:
    if "allow_insecure" in error.reason:
        return f"Correct {error.setting}, or set allow_insecure on a network that you trust."
    return f"Correct {error.setting}; the text says what it may be."


async def _ask_sidecar(
    settings: Settings, addresses: Addresses, context: ssl.SSLContext | None
) -> Check:
    token = settings.sidecar_token
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    url = f"{addresses.url}/health"
    started = trio.current_time()
    try:
        limit = settings.sidecar_probe_timeout
        status, body = await _get(url, limit, context, headers, name_checked(addresses))
    except Unreachable as error:
        todo = ["Is the external client running? Is --sidecar-url (setting sidecar_url) right?"]
        if "certificate" in str(error).lower():
            todo = ["Name the CA of its certificate in ca_file, and its own name in sidecar_url."]
        elif not isinstance(error, Away):
            todo.append("Somebody is there: is it that client, and what does its log say?")
        if settings.sidecar_url == _DEFAULT_URL:
            todo.append("sidecar_url is not set, so this is the default.")
        return failed("sidecar", f"no sidecar at {addresses.url}: {error}", *todo)
    if status != 200:
        said = _without_token(describe_answer(status, body), token)
        if status in (401, 403):
            todo = ["Compare sidecar_token with the client's."]
        else:
            todo = [
                "Look into the external client's log; or another program is there: is "
                "--sidecar-url (setting sidecar_url) right?"
            ]
        return failed("sidecar", f"the sidecar at {addresses.url} is not well: {said}", *todo)
    took = (trio.current_time() - started) * 1000
    text = f"{url} answered in {took:.0f} ms"
    said = _without_token(" ".join(body.decode("utf-8", "replace").split()), token)
    return ok("sidecar", f"{text}: {shortened(said, _SHOWN)}" if said else text)


def _without_token(text: str, token: str | None) -> str:
    """What the client says may name the address that it was given, and so the token."""
    if token is None:
        return text
    return text.replace(token, "...").replace(quote(token, safe=""), "...")


async def _get(
    url: str,
    limit: float,
    context: ssl.SSLContext | None,
    headers: dict[str, str],
    extensions: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    verify = verify_with(context)
    # The one limit is `ask`'s.
    async with httpx.AsyncClient(verify=verify, trust_env=False, timeout=None) as http:  # noqa: S113
        request = http.build_request("GET", url, headers=headers, extensions=extensions)
        return await ask(http, request, limit)


# -- where its messages come in


async def check_callback(settings: Settings, addresses: Addresses) -> Check:
    """Whether our address is free, or served already, and by whom."""
    where = settings.callback_listen
    host, port = addresses.listen_host, addresses.listen_port
    try:
        await _try_to_bind(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return await _ask_callback(settings, port)
        return failed("callback", f"{where} cannot be listened on: {_why(error)}", *_todo(error))
    # The token is a part of that address, and not shown.
    told = callback_url(attrs.evolve(settings, sidecar_token=None), port)
    if not (is_loopback(host) or settings.origin_of("sidecar_token")):
        text = f"{where} is free; whoever reaches it can send commands"
        return warning("callback", text, "Set sidecar_token, or listen on this machine only.")
    if port == 0:
        return ok("callback", f"{where} is free: any port; the client is told which")
    return ok("callback", f"{where} is free; the client is told {told}")


async def _try_to_bind(host: str, port: int) -> None:
    """Bind as the endpoint does, without listening: nobody can connect, and nobody is kept out.

    Raises:
        OSError: that address is taken, or is none of ours.
    """
    found = None
    with trio.move_on_after(NAME_TIMEOUT):
        found = await trio.socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    if found is None:
        raise OSError(errno.ETIMEDOUT, f"no name server answers within {NAME_TIMEOUT:g} s")
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)


def _why(error: OSError) -> str:
    return error.strerror or str(error)


def _todo(error: OSError) -> list[str]:
    if error.errno == errno.EACCES:
        return [f"Ports below 1024 need a right of their own: {_ANOTHER}"]
    return [f"It has to be an address of this machine: {_ANOTHER}"]


async def _ask_callback(settings: Settings, port: int) -> Check:
    where = settings.callback_listen
    local = attrs.evolve(settings, sidecar_token=None, callback_url=None)
    url = callback_url(local, port).removesuffix(CALLBACK_PATH) + "/mqtt-callback/health"
    taken = f"{where} cannot be listened on: {os.strerror(errno.EADDRINUSE)}"
    try:
        # Whoever is there is a stranger so far, and gets no token.
        status, body = await _get(url, CALLBACK_TIMEOUT, None, {})
        fields = msgspec.json.decode(body) if status == 200 else None
    except Unreachable as error:
        text = f"{taken}, and what is there gives no health: {error}"
        return failed("callback", text, f"Stop it, or {_ANOTHER}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or fields.get("status") != "healthy":
        text = f"{taken}, by neither a petalkit nor the guide's host"
        return failed("callback", text, f"Stop it, or {_ANOTHER}")
    text = f"{where} is served already: a petalkit or the guide's host runs there"
    note = f"That is well if it is yours; else stop it, or {_ANOTHER}"
    topics = fields.get("subscriptions")
    if type(topics) is int:
        text += f", with {counted(topics, 'topic')} subscribed"
    if fields.get("connected") is False:
        text += ", and has no link to the sidecar"
        return warning("callback", text, note)
    return ok("callback", text, note)
