"""Which topics the broker allows: the command topics for listening, `debug` for speaking, and for
both the one on which the device sends messages to itself, if it does (`probe_interval`).

The traps: with MQTT 3.1.1 a message that is not allowed is acknowledged all the same, so only one
that comes back is known to have been taken; an ACL file of mosquitto is not asked at SUBSCRIBE, so
what is granted need not be delivered; and AWS IoT Core ends the connection instead of saying no.
"""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack

import trio

from ...._values.codec import Timestamps, encode_json
from ...._values.errors import ConfigError, ConnectionLost, RejectedByBroker, TransportError
from ...._values.messages import Identity, Message
from ...._values.topics import TopicFilter
from ....transports import Link, create_transport
from ..case import ECHO_WAIT, RETAINED_WAIT, Case
from ..reasons import AS_DEVICE, publish_todo, subscribe_todo
from ..values import Check, Findings, failed, listed, ok, shortened, warning

_CLOSES = "A broker may end the connection at what it does not allow; AWS IoT Core does."


async def check_subscribe(case: Case, identity: Identity) -> Check:
    """Subscribe to each command topic, as the device does, and leave again.

    Bounded by the timeouts of connecting and subscribing, the latter for each topic.
    """
    findings = Findings("subscribe")
    topics = [identity.topic(name) for name in case.settings.command_topics]
    topics += _probe_topics(case, identity)
    hint = () if case.as_device else (AS_DEVICE,)
    granted: list[str] = []
    at_most_once: list[str] = []
    topic = topics[0]
    try:
        async with create_transport(case.settings).connect(case.options()) as link:
            for topic in topics:
                try:
                    [quality] = await link.subscribe([TopicFilter(topic)])
                except RejectedByBroker as error:
                    text = f"{topic}: the broker said {shortened(error.reason)}"
                    text += f" ({error.reason_code:#04x})"
                    findings.fail(text, subscribe_todo(topic), *hint)
                else:
                    (granted if quality else at_most_once).append(topic)
            retained = await _retained(link)
    except (TransportError, ConfigError) as error:
        text = f"the link ended at the subscription to {topic}: {shortened(str(error))}"
        findings.fail(text, _CLOSES, subscribe_todo(topic), *hint)
        retained = []
    if granted:
        findings.ok(f"granted: {listed(granted)}")
    if at_most_once:
        findings.warn(
            f"granted with QoS 0 only: {listed(at_most_once)}",
            "A command that is lost with a link, or sent while there is none, is not sent again: "
            "let the broker grant QoS 1 (max_qos in mosquitto.conf).",
        )
    for name in retained:
        findings.warn(
            f"a retained message waits on {shortened(name)}",
            "A retained command is refused at each new session: publish an empty message there, "
            "retained, to clear it.",
        )
    return findings.check(nothing="")


async def _retained(link: Link) -> list[str]:
    """The topics of retained messages. Nothing is acknowledged: a session may be the device's."""
    found: dict[str, None] = {}
    with trio.move_on_after(RETAINED_WAIT):
        while True:
            for delivery in await link.receive():
                if delivery.retain:
                    found[delivery.topic] = None
    return list(found)


def _probe_topics(case: Case, identity: Identity) -> list[str]:
    settings = case.settings
    return [identity.topic(settings.probe_topic)] if settings.probe_interval else []


async def check_publish(case: Case, identity: Identity) -> Check:
    """Publish one small message on `debug`, and see whether it comes back to somebody else.

    And on the probe topic, if there is one. Bounded by the timeouts of connecting and subscribing,
    and `ECHO_WAIT`, for each.
    """
    findings = Findings("publish")
    for topic in (identity.topic(case.settings.debug_topic), *_probe_topics(case, identity)):
        findings.take(await _check_topic(case, topic))
    return findings.check(nothing="")


async def _check_topic(case: Case, topic: str) -> Check:
    try:
        async with AsyncExitStack() as stack:
            observer, blind = await _open_observer(stack, case, topic)
            link = await stack.enter_async_context(
                create_transport(case.settings).connect(case.options())
            )
            error, elapsed, came_back = await _probe(case, link, observer, topic)
    except (TransportError, ConfigError) as failure:
        return failed("publish", f"no link to publish on: {shortened(str(failure))}")
    if isinstance(error, RejectedByBroker):
        text = f"{topic}: the broker said {shortened(error.reason)} ({error.reason_code:#04x})"
        return failed("publish", text, publish_todo(topic))
    if isinstance(error, ConnectionLost):
        text = f"the link ended at a message on {topic}: {shortened(str(error))}"
        return failed("publish", text, _CLOSES, publish_todo(topic))
    if error is not None:
        text = f"no PUBACK for a message on {topic} in time"
        return failed("publish", text, "Look at the broker: it takes messages and says nothing.")
    if came_back is not None and came_back != topic:
        text = (
            f"a message on {topic} came back on {shortened(came_back)}: the broker changes topics"
        )
        return failed(
            "publish",
            text,
            "A device would take no command there. RabbitMQ takes a dot for a slash: IDs and "
            "topics must have no dot in them.",
        )
    if elapsed is not None:
        return ok("publish", f"a message on {topic} came back in {elapsed * 1000:.0f} ms")
    return _not_seen(case, topic, blind)


def _not_seen(case: Case, topic: str, blind: str) -> Check:
    """It was acknowledged, and that is all that is known."""
    why = blind or f"it did not come back within {ECHO_WAIT:g} s"
    if case.settings.speaks_mqtt_5:
        text = f"a message on {topic} was accepted, but {why}"
        if blind:
            return ok("publish", text)
        return warning("publish", text, "Listening there may not be allowed for this user.")
    return warning(
        "publish",
        f"a message on {topic} was acknowledged, which MQTT 3.1.1 does also with what is not "
        f"allowed, and {why}",
        publish_todo(topic),
        "If only listening is not allowed, which the device need not, nothing is wrong.",
    )


async def _open_observer(stack: AsyncExitStack, case: Case, topic: str) -> tuple[Link | None, str]:
    """A client of our own that listens on `topic`, or why there is none.

    Not the client that publishes: a subscription would stay in the device's session.
    """
    try:
        link = await stack.enter_async_context(
            create_transport(case.settings).connect(case.observer_options())
        )
        await link.subscribe([TopicFilter(topic)])
    except (TransportError, ConfigError) as error:
        return None, f"nobody could listen there: {shortened(str(error))}"
    return link, ""


async def _probe(
    case: Case, link: Link, observer: Link | None, topic: str
) -> tuple[Exception | None, float | None, str | None]:
    """Publish; what went wrong, after how many seconds it was seen, and on which topic."""
    token = secrets.token_hex(8)
    text = "petalkit doctor looks whether this topic is allowed; nothing is to be done"
    payload = encode_json({"doctor": token, "message": text, "timestamp": Timestamps()()})
    seen = trio.Event()
    came_back: list[str] = []
    problem: Exception | None = None
    elapsed: float | None = None

    async def take(source: Link) -> None:
        try:
            while True:
                for delivery in await source.receive():
                    if source is observer:
                        delivery.ack()
                        if delivery.payload == payload:
                            came_back.append(delivery.topic)
                            seen.set()
        except ConnectionLost:
            pass  # whoever publishes on it is told

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, link)  # what the session replays stands before the PUBACK
        if observer is not None:
            nursery.start_soon(take, observer)
        started = trio.current_time()
        limit = min(case.settings.publish_timeout, case.settings.subscribe_timeout)
        try:
            await link.publish(Message(topic, payload), limit=limit)
        except (TransportError, trio.TooSlowError) as error:
            problem = error
        else:
            if observer is not None:
                with trio.move_on_after(ECHO_WAIT):
                    await seen.wait()
                    elapsed = trio.current_time() - started
        nursery.cancel_scope.cancel()
    return problem, elapsed, came_back[0] if came_back else None
