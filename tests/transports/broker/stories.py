"""Random stories of a few clients, told to two brokers, and what differs in what they see.

A story is made of a seed: the same on every machine. After each step every client pings until
nothing more comes, so what a step leads to is seen with it. What is known to differ is taken
out of the stories or of the comparison here, with its
reason; docs/broker.md says the same in words.
"""

from __future__ import annotations

import random
import time
from typing import Any

import attrs
import mqtt5

from petalkit._values.topics import TopicFilter

from .wire import Seen, WireClient

STEPS = 18
NAMES = ("a", "b", "c")
LEVELS = ("x", "y", "z")
FILTERS = ("x", "y", "x/y", "+", "x/+", "+/y", "#", "x/#", "+/+", "x/y/#", "+/y/z", "z")
TOPICS = ("x", "y", "z", "x/y", "x/z", "y/y", "x/y/z")


@attrs.frozen
class Step:
    """What one client does."""

    who: str
    what: str
    arguments: dict[str, Any] = attrs.field(factory=dict)


def make_story(seed: int) -> list[Step]:
    """The steps of a seed."""
    chance = random.Random(seed)
    connected: set[str] = set()
    steps: list[Step] = []
    for number in range(STEPS):
        who = chance.choice(NAMES)
        if who not in connected:
            steps.append(Step(who, "connect", _connect(chance, number)))
            connected.add(who)
            continue
        what = chance.choices(
            ("subscribe", "unsubscribe", "publish", "disconnect", "drop", "connect"),
            (5, 1, 8, 1, 1, 1),
        )[0]
        arguments: dict[str, Any] = {}
        match what:
            case "connect":
                arguments = _connect(chance, number)
            case "subscribe":
                arguments = _subscribe(chance)
            case "unsubscribe":
                arguments = {"patterns": [chance.choice(FILTERS)]}
            case "publish":
                arguments = _publish(chance, number)
            case "disconnect":
                arguments = {"reason_code": chance.choice((0, 0, 4))}
        if what in ("disconnect", "drop"):
            connected.discard(who)
        steps.append(Step(who, what, arguments))
    return steps


def _connect(chance: random.Random, number: int) -> dict[str, Any]:
    will = None
    if chance.random() < 0.3:
        will = (chance.choice(TOPICS), b"will %d" % number, chance.randrange(3),
                chance.random() < 0.3)  # fmt: skip
    return {
        "clean": chance.random() < 0.4,
        "expiry": chance.choice((0, 100, 100)),
        "will": will,
        "acks": chance.random() < 0.8,
    }


def _subscribe(chance: random.Random) -> dict[str, Any]:
    return {
        "filters": [
            (
                chance.choice(("", "", "", "", "$share/g/")) + pattern,
                chance.randrange(3),
                # No local and retain as published: the same each time, since mosquitto 2.0 keeps
                # the first when a filter is subscribed again (MQTT 5.0, section 3.8.4).
                FILTERS.index(pattern) % 4 == 1,
                FILTERS.index(pattern) % 3 == 0,
                chance.choice((0, 0, 1, 2)),
            )
            for pattern in chance.sample(FILTERS, chance.choice((1, 1, 2)))
        ],
        "identifier": chance.choice((None, None, 1, 7, 200)),
    }


def _publish(chance: random.Random, number: int) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    if chance.random() < 0.4:
        given = {
            "content_type": "text/plain",
            "response_topic": "r/t",
            "correlation_data": b"\0\1",
            "message_expiry_interval": 1000,
            "user_properties": [("b", "1"), ("a", "2"), ("b", "3")],
            "payload_format_indicator": 1,
        }
        for name in chance.sample(sorted(given), chance.randrange(1, 4)):
            properties[name] = given[name]
    payload = b"" if chance.random() < 0.1 else b"message %d" % number
    return {
        "topic": chance.choice(TOPICS),
        "payload": payload,
        "qos": chance.randrange(3),
        "retain": chance.random() < 0.25,
        "properties": properties,
    }


class Teller:
    """Tells stories to one broker; each has client IDs and topics of its own.

    Args:
        port: of the broker, on this machine.
        pause: seconds after which it has noticed a closed socket.
    """

    def __init__(self, port: int, pause: float = 0.004) -> None:
        self._port = port
        self._pause = pause

    def tell(self, seed: int) -> list[tuple[Step, dict[str, list[Seen]]]]:
        """Tell one; what each client saw of each step."""
        chance = random.Random(-seed)
        root = f"s{seed}"
        versions = {name: chance.random() < 0.6 for name in NAMES}
        clients = {name: WireClient(f"{root}-{name}", v5=versions[name]) for name in NAMES}
        story = make_story(seed)
        told: list[tuple[Step, dict[str, list[Seen]]]] = []
        try:
            for step in story:
                self._do(step, clients[step.who], root)
                if step.what in ("drop", "disconnect", "connect"):
                    time.sleep(self._pause)
                told.append((step, self._settle(clients, root)))
        finally:
            self._clean_up(clients, root)
        return told

    def _do(self, step: Step, client: WireClient, root: str) -> None:
        given = step.arguments
        if step.what != "connect" and not client.connected:
            return  # it was closed for what it did before
        match step.what:
            case "connect":
                client.close()
                client.acks = given["acks"]
                will = given["will"]
                if will is not None:
                    topic, payload, qos, retain = will
                    quality = mqtt5.QoS(qos)
                    will = mqtt5.Will(
                        f"{root}/{topic}", payload=payload, qos=quality, retain=retain
                    )
                client.connect(self._port, clean=given["clean"], expiry=given["expiry"], will=will)
            case "subscribe":
                client.subscribe(
                    [_filter(one, root, step.who, v5=client.v5) for one in given["filters"]],
                    given["identifier"],
                )
            case "unsubscribe":
                client.unsubscribe([f"{root}/{one}" for one in given["patterns"]])
            case "publish":
                properties = given["properties"] if client.v5 else {}
                client.publish(
                    f"{root}/{given['topic']}", given["payload"], qos=given["qos"],
                    retain=given["retain"], **properties,
                )  # fmt: skip
            case "disconnect":
                client.disconnect(given["reason_code"])
            case "drop":
                client.close()

    def _settle(self, clients: dict[str, WireClient], root: str) -> dict[str, list[Seen]]:
        seen: dict[str, list[Seen]] = {name: [] for name in clients}
        quiet = 0
        while quiet < 2:
            quiet += 1
            for name, client in clients.items():
                found = client.settle()
                if found:
                    quiet = 0
                seen[name] += [
                    attrs.evolve(one, topic=one.topic.removeprefix(f"{root}/")) for one in found
                ]
        return seen

    def _clean_up(self, clients: dict[str, WireClient], root: str) -> None:
        for client in clients.values():
            client.close()
            client.acks = True
            client.connect(self._port, clean=True)
            client.settle()
        cleaner = clients[NAMES[0]]
        for topic in TOPICS:
            cleaner.publish(f"{root}/{topic}", b"", retain=True)
        cleaner.settle()
        for client in clients.values():
            client.disconnect()


def _filter(
    given: tuple[str, int, bool, bool, int], root: str, who: str, *, v5: bool
) -> mqtt5.TopicFilter:
    """With a group for each client: to which member of one a message goes is open."""
    pattern, qos, no_local, retain_as_published, handling = given
    share = pattern.startswith("$share/g/")
    pattern = pattern.removeprefix("$share/g/")
    pattern = f"$share/{who}/{root}/{pattern}" if share else f"{root}/{pattern}"
    quality = mqtt5.QoS(qos)
    return mqtt5.TopicFilter(
        pattern,
        max_qos=quality,
        no_local=v5 and no_local and not share,
        retain_as_published=v5 and retain_as_published,
        retain_handling=mqtt5.RetainHandling(handling if v5 else 0),
    )


Told = list[tuple[Step, dict[str, list[Seen]]]]


def differences(ours: Told, theirs: Told) -> list[str]:
    """What differs beyond what is known: the first step that does, in words."""
    overlaps = Overlaps()
    for number, ((step, one), (_, other)) in enumerate(zip(ours, theirs, strict=True)):
        overlaps.follow(step)
        for name in one:
            mine, yours = (overlaps.without(name, seen) for seen in (one[name], other[name]))
            if step.what == "subscribe":  # in which order retained messages come is open
                mine, yours = (without_shared(step, seen) for seen in (mine, yours))
            if mine != yours:
                return [
                    f"step {number}: {step}",
                    f"  {name} of ours: {mine}",
                    f"  {name} of theirs: {yours}",
                ]
    return []


def without_shared(step: Step, seen: list[Seen]) -> list[Seen]:
    """mosquitto 2.0 sends retained messages to shared subscriptions (MQTT 5.0, section 3.8.4)."""
    shared = [
        TopicFilter(pattern)
        for pattern, *_ in step.arguments["filters"]
        if pattern.startswith("$share/")
    ]
    found = [
        one
        for one in seen
        if not (one.kind == "PUBLISH" and any(each.matches(one.topic) for each in shared))
        and not (one.kind == "PUBREL" and shared)
    ]
    return sorted(found, key=repr)


class Overlaps:
    """What comes by several filters of one client is not compared.

    mosquitto 2.0 sends it for any one of them in 3.1.1, and for each of them in 5; ours sends it
    once, with the highest QoS.
    """

    def __init__(self) -> None:
        self._filters: dict[str, set[TopicFilter]] = {name: set() for name in NAMES}

    def follow(self, step: Step) -> None:
        """Whether a session was kept is not asked: more is taken for an overlap than is one."""
        if step.what == "subscribe":
            for pattern, *_ in step.arguments["filters"]:
                self._filters[step.who].add(TopicFilter(pattern))

    def without(self, name: str, seen: list[Seen]) -> list[Seen]:
        """The rest, answers first: a broker may pass a message on before or after its answer."""
        filters = self._filters[name]
        has_overlap = any(sum(one.matches(topic) for one in filters) > 1 for topic in TOPICS)
        answers = [
            # Whether anybody is subscribed is known to theirs only when the message is released.
            attrs.evolve(one, code=0) if one.kind == "PUBREC" and one.code == 0x10 else one
            for one in seen
            if one.kind != "PUBLISH"
        ]
        released = [one for one in answers if one.kind == "PUBREL" and not has_overlap]
        answers = [one for one in answers if one.kind != "PUBREL"]
        messages = [
            one
            for one in seen
            if one.kind == "PUBLISH"
            and sum(each.matches(one.topic) for each in filters) < 2
            # See `without_shared`; what was not acknowledged comes again later.
            and not (one.retain and any(each.share and each.matches(one.topic) for each in filters))
        ]
        return answers + released + messages
