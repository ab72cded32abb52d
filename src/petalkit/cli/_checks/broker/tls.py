"""The TLS handshake with the broker, the certificate that it shows, and what both say of the clock.

It is done as the transports do it, so what is refused here is refused there. Where the certificate
is not good, a second handshake looks at it without trust; nothing is ever sent on that one.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
import trio

from ...._values.basics.clocks import wall_clock_is_set
from ...._values.errors import ConnectFailed
from ...._values.settings.settings import Settings
from ....transports._connecting.credentials import CredentialsFailed, renew
from ....transports._connecting.sockets import ConnectLimit, PlainStream, open_plain_socket
from ....transports._connecting.tls import Address, tls_context
from ....transports._connecting.websocket_settings import offer_http
from ..certificate import DAYS_WARNED, Validity, validity
from ..values import Check, Findings, failed, listed, ok, shortened, warning
from .mqtt import PROBE_TIMEOUT, who_listens

# A broker that wants another certificate says so after the handshake, with TLS 1.3.
ALERT_WAIT = 0.3  # seconds, or twice what the handshake took
# Of OpenSSL's X509_V_ERR_*: what is done about each is not the same.
_NOT_YET_VALID, _EXPIRED, _HOSTNAME, _IP_ADDRESS = 9, 10, 62, 64
_CLIENT_ALERTS = (
    *("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "BAD_CERTIFICATE", "UNKNOWN_CA"),
    *("CERTIFICATE_EXPIRED", "CERTIFICATE_REVOKED", "CERTIFICATE_UNKNOWN", "ACCESS_DENIED"),
)


@attrs.frozen
class _Shown:
    """What a handshake showed."""

    certificate: Mapping[str, Any]
    version: str
    alpn: str | None


async def check_tls(
    settings: Settings, address: Address, now: float
) -> tuple[Validity | None, Check]:
    """Shake hands as `petalkit run` would; and until when the server's certificate is good.

    Bounded by `connect_timeout`, and a few seconds more where it fails.
    """
    shown: _Shown | None = None
    try:
        limit = ConnectLimit(settings.connect_timeout)
        with limit.scope:
            context = await _context(settings)
            if address.resource is not None and not settings.alpn:
                offer_http(context)
            shown = await _shake_hands(address, context, limit.moved)
    except CredentialsFailed as error:
        return None, failed("tls", str(error), f"Correct {error.setting}.")
    except ConnectFailed as error:
        return None, failed("tls", str(error), "It was there a moment ago: try again.")
    except ssl.SSLCertVerificationError as error:
        return await _explain_distrust(error, settings, address)
    except (OSError, trio.BrokenResourceError, ValueError) as error:
        return None, await _explain_failure(error, settings, address)
    if shown is None:
        text = f"{address} accepts a connection, and answers no TLS"
        return None, await _explain_silence(text, settings, address)
    return _judge(shown, settings, address, now)


async def _context(settings: Settings) -> ssl.SSLContext:
    deadline = trio.current_time() + settings.connect_timeout
    return tls_context(await renew(settings, ("key_password",), deadline))


async def _shake_hands(
    address: Address, context: ssl.SSLContext, on_moved: Callable[[], object] | None = None
) -> _Shown:
    """What the server shows; errors come out as OpenSSL's own, where it has one."""
    async with PlainStream(await open_plain_socket(address)) as plain:
        stream = trio.SSLStream(plain, context, server_hostname=address.server_name)
        started = trio.current_time()
        plain.on_moved = on_moved
        try:
            await stream.do_handshake()
            with trio.move_on_after(max(ALERT_WAIT, 2 * (trio.current_time() - started))):
                # A server of HTTP waits for a request, and says nothing.
                if not await stream.receive_some(1):
                    raise trio.BrokenResourceError("the broker closed after the handshake")
        except trio.BrokenResourceError as error:
            if isinstance(error.__cause__, ssl.SSLError):
                raise error.__cause__ from None
            raise
        return _Shown(
            stream.getpeercert() or {},
            stream.version() or "TLS",
            stream.selected_alpn_protocol(),
        )


# -- a good one


def _judge(
    shown: _Shown, settings: Settings, address: Address, now: float
) -> tuple[Validity | None, Check]:
    findings = Findings("tls")
    names = listed(_names(shown.certificate)) or "no name"
    issuer = _attribute(shown.certificate.get("issuer", ())) or "an issuer without a name"
    dates = _dates(shown.certificate)
    left = "" if dates is None else f", good for {dates.days_left(now)} days"
    findings.ok(f"{shown.version} with {address}; certificate for {names}, by {issuer}{left}")
    if dates is not None and dates.days_left(now) < DAYS_WARNED:
        findings.warn(
            f"the broker's certificate ends on {dates.ends_on()}",
            "Tell whoever runs the broker; no device connects after that day.",
        )
    if settings.alpn:
        if shown.alpn is None:
            findings.warn(
                f"the broker chose none of the ALPN names {listed(settings.alpn)}",
                "Leave alpn out, unless this port needs it: AWS IoT Core does on 443.",
            )
        else:
            findings.ok(f"ALPN {shown.alpn}")
    return dates, findings.check(nothing="")


def _names(certificate: Mapping[str, Any]) -> list[str]:
    pairs: Sequence[tuple[str, str]] = certificate.get("subjectAltName", ())
    return [value for kind, value in pairs if kind in ("DNS", "IP Address")]


def _attribute(name: Any) -> str:
    """The common name of an X.500 name as `getpeercert` gives it, or else the organization."""
    parts = {key: value for relative in name for key, value in relative}
    return shortened(parts.get("commonName") or parts.get("organizationName") or "", 100)


def _dates(certificate: Mapping[str, Any]) -> Validity | None:
    try:
        return Validity(
            float(ssl.cert_time_to_seconds(certificate["notBefore"])),
            float(ssl.cert_time_to_seconds(certificate["notAfter"])),
        )
    except (KeyError, ValueError):
        return None


# -- and the others


async def _explain_distrust(
    error: ssl.SSLCertVerificationError, settings: Settings, address: Address
) -> tuple[Validity | None, Check]:
    code = error.verify_code
    text = f"the certificate of {address} is not trusted: {error.verify_message}"
    if code in (_HOSTNAME, _IP_ADDRESS):
        names = await _names_without_check(settings, address)
        if names:
            text += f"; it is for {listed(names)}"
        return None, failed("tls", text, *_name_todo(settings))
    if code in (_EXPIRED, _NOT_YET_VALID):
        dates = await _dates_without_trust(address)
        if dates is not None:
            text += f"; it is good from {dates.begins_on()} to {dates.ends_on()}"
        todo = ["See whether this device's clock is right: `date -u`."]
        if code == _EXPIRED:
            todo.append("If it is, the broker's certificate has to be renewed where it runs.")
        return dates, failed("tls", text, *todo)
    if settings.ca_file is None:
        todo = ["The broker has a CA of its own: set ca_file to its certificate."]
    else:
        todo = [f"{settings.ca_file} holds another CA than the broker's: set ca_file to that one."]
    return None, failed("tls", text, *todo)


def _name_todo(settings: Settings) -> list[str]:
    if settings.tls_server_name is not None:
        return ["Write in tls_server_name a name that stands in the certificate."]
    return [
        "Write in broker a name that stands in the certificate.",
        "Where that name does not lead to the broker: write it in tls_server_name.",
    ]


async def _names_without_check(settings: Settings, address: Address) -> list[str]:
    """The names in a certificate that is trusted, and for another host."""
    try:
        context = await _context(settings)
        context.check_hostname = False
        with trio.move_on_after(PROBE_TIMEOUT):
            return _names((await _shake_hands(address, context)).certificate)
    except (OSError, ConnectFailed, trio.BrokenResourceError, ValueError):
        pass
    return []


async def _dates_without_trust(address: Address) -> Validity | None:
    """The dates of a certificate, whoever signed it. The connection is used for nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with trio.move_on_after(PROBE_TIMEOUT):
            async with PlainStream(await open_plain_socket(address)) as plain:
                stream = trio.SSLStream(plain, context, server_hostname=address.server_name)
                await stream.do_handshake()
                return validity(stream.getpeercert(binary_form=True) or b"")
    except (OSError, ConnectFailed, trio.BrokenResourceError, ValueError):
        pass
    return None


async def _explain_failure(error: Exception, settings: Settings, address: Address) -> Check:
    reason = getattr(error, "reason", None) or str(error.__cause__ or error)
    text = f"no TLS with {address}: {reason}"
    certificate = client_certificate_todo(text, settings)
    if certificate is not None:
        return failed("tls", text, certificate)
    if "ALPN" in text.upper() or "APPLICATION_PROTOCOL" in text:
        return failed("tls", text, "Correct alpn: the broker knows none of these names.")
    return await _explain_silence(text, settings, address)


def client_certificate_todo(text: str, settings: Settings) -> str | None:
    """What to do where an alert of TLS is about the client's certificate; else None."""
    if not any(alert in text.upper().replace(" ", "_") for alert in _CLIENT_ALERTS):
        return None
    if settings.cert_file is None:
        return "The broker wants a client certificate: set cert_file and key_file."
    return (
        "The broker does not take the client certificate: is it activated there, not ended, and "
        "signed by a CA that the broker knows?"
    )


async def _explain_silence(text: str, settings: Settings, address: Address) -> Check:
    match await who_listens(address):
        case "mqtt":
            text = f"{address} speaks plain MQTT, and broker says {settings.broker_url().scheme}://"
            return failed(
                "tls",
                text,
                "Use the broker's TLS port, mostly 8883.",
                "Or write mqtt://, where that is on this machine or a network that you trust.",
            )
        case "http" if address.resource is not None:
            text = f"{address} speaks plain HTTP, and broker says wss://"
            return failed("tls", text, "Use the TLS port of the server; or ws://, where trusted.")
        case "http":
            text = f"{address} speaks HTTP, and not TLS"
            return failed("tls", text, "Set broker to the port of the MQTT broker.")
        case _:
            pass
    usual = 8883 if address.resource is None else 443
    todo = [f"Is this the broker's TLS port? {usual} mostly."]
    if address.resource is None and address.port == 443 and not settings.alpn:
        todo.append("Port 443 of AWS IoT Core needs alpn x-amzn-mqtt-ca.")
    elif settings.cert_file is None:
        todo.append("It may want a client certificate: cert_file and key_file.")
    return failed("tls", text, *todo)


def check_clock(now: float, dates: Validity | None) -> Check:
    """Whether this device's clock can be right.

    Args:
        now: wall clock.
        dates: of the broker's certificate, which somebody else's clock has made.
    """
    shown = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S} UTC"
    todo = "Set the clock: commands with expiresAt, their age, and all certificates depend on it."
    if not wall_clock_is_set(now):
        return warning("clock", f"it is {shown} here, which cannot be", todo)
    if dates is not None and now < dates.begins:
        text = f"it is {shown} here, and the broker's certificate begins on {dates.begins_on()}"
        return warning("clock", text, todo)
    if dates is not None and now >= dates.ends:
        text = f"it is {shown} here, and the broker's certificate ended on {dates.ends_on()}"
        return warning("clock", text, "If that is not the date of today: " + todo)
    against = "" if dates is None else ", within the days of the broker's certificate"
    return ok("clock", f"it is {shown} here{against}")
