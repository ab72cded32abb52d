"""CONNECT, over the transport and the protocol that are set, and what the broker limits."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs
import trio

from ...._values.errors import ConfigError, RejectedByBroker, TransportError
from ...._values.settings.settings import Settings
from ...._values.topics import TopicFilter
from ....transports import ConnectOptions, create_transport
from ....transports._connecting.tls import Address
from ....transports._connecting.websocket_refused import WebSocketRefused
from ..case import RETAINED_WAIT, Case
from ..reasons import AS_DEVICE, connect_todo
from ..values import Check, Findings, failed, ok, shortened, skipped
from .mqtt import who_listens
from .tls import client_certificate_todo

VERSION_TOPIC = "$SYS/broker/version"  # where mosquitto says what it is
QUEUE_DEFAULT = 1000  # mosquitto's max_queued_messages
_STALL_FIXED_IN = (2, 0, 13)  # of mosquitto: QoS 1 to a client with a Maximum Packet Size
_TOPIC_ROOM = 512  # bytes of a packet beside the payload: a topic and a few properties


@attrs.frozen
class Accepted:
    """What a CONNACK said.

    Attributes:
        limits: see `Link.broker_limits`.
        session_present: whether the broker had kept the session.
    """

    limits: Mapping[str, int]
    session_present: bool


@attrs.define
class Visit:
    """What has come of connecting, also when leaving again is cut short."""

    accepted: Accepted | None = None


async def check_connect(case: Case, address: Address, visit: Visit) -> Check:
    """Connect, and leave again.

    Bounded by twice `connect_timeout` and `disconnect_timeout`, and some seconds where it fails.
    """
    settings, options = case.settings, case.asking_options()
    what = f"MQTT {settings.protocol} over {settings.transport}"
    started = trio.current_time()
    try:
        try:
            async with create_transport(settings).connect(options) as link:
                elapsed = trio.current_time() - started
                visit.accepted = accepted = Accepted(link.broker_limits, link.session_present)
        finally:
            if options.clean_start and options.session_expiry:  # not the device's, but ours
                await end_session(case, options)
    except ConfigError as error:
        return failed("connect", str(error), f"Correct {error.setting}.")
    except RejectedByBroker as error:
        text = f"{what}: {_refusal(error)} to client {options.client_id!r}"
        todo = connect_todo(error, settings, as_device=case.as_device)
        return failed("connect", text, *todo)
    except TransportError as error:
        return await _explain(error, case, address)
    user = {
        None: "no user name",
        "username": f"user {settings.username!r}",
    }.get(settings.origin_of("username"), "the user name of its file")
    text = f"{what}: accepted {options.client_id!r} with {user} in {elapsed * 1000:.0f} ms"
    if accepted.session_present:
        text += "; the broker has kept its session"
    return ok("connect", text)


def _refusal(error: RejectedByBroker) -> str:
    return f"the broker said {shortened(error.reason)} ({error.reason_code:#04x})"


def _websocket_todo(status: int) -> str:
    match status:
        case 401 | 403:
            return "Put what it wants into websocket_headers_file: Authorization, mostly."
        case 502 | 503 | 504 | 429:
            return "Look at the server: it refuses at this moment."
        case _ if 300 <= status < 400:
            return "Write in broker where it sends us, if that is right."
        case _:
            return "Compare the path in broker: /mqtt mostly, /ws with RabbitMQ."


async def _explain(error: TransportError, case: Case, address: Address) -> Check:
    """No CONNACK: who is it that listens there?"""
    settings = case.settings
    text = shortened(str(error))
    certificate = client_certificate_todo(text, settings)
    if certificate is not None:
        return failed("connect", text, certificate)
    todo: list[str] = []
    if isinstance(error, WebSocketRefused):
        return failed("connect", text, _websocket_todo(error.status))
    if not address.tls:
        match await who_listens(address):
            case "tls":
                secure = settings.broker_url()._replace(netloc=str(address)).geturl()
                secure = secure.replace("://", "s://", 1)
                text = f"{address} speaks TLS, and broker says {settings.broker_url().scheme}://"
                todo = [f"Write broker as {secure}."]
            case "mqtt" | "other" if address.resource is not None:
                text = f"{address} speaks something that is not HTTP"
                todo = ["Set broker to the port on which the broker takes WebSockets."]
            case "http" if address.resource is not None:
                todo = ["It opens no WebSocket for MQTT: compare the port and the path of broker."]
            case "http":
                text = f"{address} speaks HTTP, and not MQTT"
                todo = ["Set broker to the port of the MQTT broker."]
            case "other":
                text = f"{address} speaks something that is not MQTT"
                todo = ["Set broker to the port of the MQTT broker."]
            case "silent":
                todo = ["Is that an MQTT broker? It accepts a connection and says nothing."]
            case "mqtt" if settings.protocol == "5":
                todo = ["It answers MQTT 3.1.1: use --transport asyncio-mqtt --protocol 3.1.1."]
            case _:
                pass
    if not todo:
        todo = ["The broker ends the connection without a word; its log says why."]
        if address.port == 443 and not settings.alpn:
            todo.append("Port 443 of AWS IoT Core needs alpn x-amzn-mqtt-ca.")
        if not case.as_device:
            todo.append(AS_DEVICE)
        if settings.protocol == "5" and settings.transport != "native":
            todo.append("Brokers that speak only 3.1.1 may do so too: --protocol 3.1.1.")
    return failed("connect", text, *todo)


# -- limits


def check_limits(limits: Mapping[str, int], settings: Settings) -> Check:
    """Compare what the CONNACK limits with what the runtime needs.

    Args:
        limits: see `Link.broker_limits`; of a link that asked for what the runtime asks for.
        settings: of the runtime.
    """
    if not settings.speaks_mqtt_5:
        return skipped("limits", "MQTT 3.1.1 does not tell; --protocol 5 would")
    findings = Findings("limits")
    size = limits.get("maximum_packet_size")
    if size is not None:
        text = f"Maximum Packet Size {size} bytes"
        if size < settings.payload_max + _TOPIC_ROOM:
            findings.warn(
                f"{text}, and payload_max is {settings.payload_max}",
                f"Set payload_max to {max(size - _TOPIC_ROOM, 128)}, or raise the broker's limit: "
                "what is between them is answered TOO_LARGE.",
            )
        else:
            findings.ok(text)
    if limits.get("retain_available") == 0:
        if settings.status_retain:
            findings.fail(
                "Retain Available 0: no retained messages",
                "The device's status is retained, and its will: let the broker keep such "
                "messages, or set status_retain to false (--no-status-retain).",
            )
        else:
            findings.ok("Retain Available 0, and status_retain is off")
    quality = limits.get("maximum_qos")
    if quality is not None:
        if quality < 1:
            findings.fail("Maximum QoS 0", "Commands and responses need QoS 1.")
        else:
            findings.ok(f"Maximum QoS {quality}")
    window = limits.get("receive_maximum")
    if window is not None:
        less = f", less than publish_maximum {settings.publish_maximum}"
        below = window < settings.publish_maximum
        findings.ok(f"Receive Maximum {window}{less if below else ''}")
    keep_alive = limits.get("server_keep_alive")
    if keep_alive is not None and keep_alive != settings.keep_alive:  # some say ours back
        findings.ok(f"Server Keep Alive {keep_alive} s in place of {settings.keep_alive} s")
    _judge_expiry(findings, limits, settings)
    return findings.check(nothing="the broker names no limit of its own")


def _judge_expiry(findings: Findings, limits: Mapping[str, int], settings: Settings) -> None:
    expiry = limits.get("session_expiry_interval")
    if expiry is None or not settings.keeps_session:
        return  # as it was asked for, or nothing was
    if expiry < settings.session_expiry:
        findings.warn(
            f"Session Expiry Interval {expiry} s, and session_expiry is {settings.session_expiry}",
            "What is sent to a device that is away for longer is lost: raise the broker's limit.",
        )
    else:
        findings.ok(f"Session Expiry Interval {expiry} s")
    if expiry < settings.will_delay:
        findings.warn(
            f"will_delay is {settings.will_delay} s, and a session is kept for {expiry} s",
            "The will comes when the session ends: raise the broker's limit, or lower will_delay.",
        )


async def check_queue(case: Case) -> Check:
    """Which broker it is, as far as it says so; only mosquitto does. And what its window holds.

    With a client of our own, since a subscription stays in the device's session. Bounded by the
    timeouts of connecting and subscribing and `RETAINED_WAIT`.
    """
    version, problem = await _version(case)
    findings = Findings("queue")
    if version is not None and version.startswith("mosquitto"):
        findings.ok(
            f"{shortened(version, 80)}: drops what is sent to a slow or absent device beyond "
            f"max_queued_messages (its default: {QUEUE_DEFAULT}), without a word, and since 2.1 "
            "also what is sent too fast to a device that keeps up",
            "If more commands than that may come meanwhile, or at once, set max_queued_messages in "
            "mosquitto.conf to as many; 0 is no limit.",
        )
        problem = ""
        if case.settings.packet_maximum and _is_before(version, _STALL_FIXED_IN):
            findings.warn(
                f"it may stop to deliver for good, since packet_maximum is "
                f"{case.settings.packet_maximum}: mosquitto before 2.0.13 can, while it says that "
                "all is well",
                "Set packet_maximum to 0, as it is by default, or probe_interval, or use a later "
                "mosquitto.",
            )
    elif version is not None:
        problem = f"nothing is known of {shortened(version, 80)}"
    if case.settings.acknowledge == "handled":
        _judge_window(findings, case.settings, known=not problem)
    return findings.check(nothing=problem)


def _is_before(version: str, other: tuple[int, ...]) -> bool:
    """Whether a mosquitto is older, as far as its version can be read."""
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", version)
    return found is not None and tuple(map(int, found.groups())) < other


def _judge_window(findings: Findings, settings: Settings, *, known: bool) -> None:
    """With `acknowledge="handled"`, what runs holds back what the broker sends.

    How much that is cannot be asked: a broker need not send as many as we allow, and its CONNACK
    says nothing of it. Measured: ejabberd 23 and 26, RabbitMQ 3.10 and 4.3, mosquitto 2.0 and 2.1.
    """
    v5 = settings.speaks_mqtt_5
    mosquitto = settings.receive_maximum if v5 else 20
    text = "acknowledge is handled: commands that run hold back all others, urgent ones too, from "
    if known:
        findings.ok(f"{text}the {mosquitto}th on (max_inflight_messages of mosquitto)")
        return
    findings.warn(
        f"{text}the first on with ejabberd, the 10th with RabbitMQ, the {mosquitto}th with "
        "mosquitto",
        "Set acknowledge to accepted, unless every command is quick; with a journal nothing is "
        "lost by it.",
    )


async def _version(case: Case) -> tuple[str | None, str]:
    """What the broker calls itself, or why that is not known."""
    version: str | None = None
    try:
        async with create_transport(case.settings).connect(case.observer_options()) as link:
            await link.subscribe([TopicFilter(VERSION_TOPIC)])
            with trio.move_on_after(RETAINED_WAIT):
                version = (await link.receive())[0].payload.decode("utf-8", "replace")
    except (TransportError, ConfigError) as error:
        return None, f"the broker does not say what it is: {shortened(str(error))}"
    return version, "the broker does not say what it is"


async def end_session(case: Case, options: ConnectOptions) -> None:
    """End a session that was made here, and was not there before. Says nothing.

    Args:
        case: what is examined.
        options: with which it was made.

    Cancellation: is held off; bounded by the timeouts of connecting and disconnecting.
    """
    limit = case.settings.connect_timeout + case.settings.disconnect_timeout
    try:
        with trio.move_on_after(limit, shield=True):
            ending = attrs.evolve(options, clean_start=True, session_expiry=0)
            async with create_transport(case.settings).connect(ending):
                pass
    except (TransportError, ConfigError):
        pass  # then the broker ends it, after its time
