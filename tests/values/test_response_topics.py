"""Which topics a sender may name for its answer: what callers use, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from petalkit import Identity, Settings
from petalkit._values.messages import Properties
from petalkit._values.response_topics import LEVELS_MAX, TOPIC_MAX, ResponseTopics
from petalkit._values.statistics import Counters

ME = "org/acme/device/D-1"
OTHER = "org/acme/device/D-2"


def objection(topic: str, **settings: Any) -> str | None:
    chosen = Settings(**settings)
    identity = Identity("acme", "D-1", base_topic=chosen.base_topic)
    return ResponseTopics(chosen, Counters()).objection(topic, identity)


@pytest.mark.parametrize(
    "topic",
    [
        "rr/4711",  # by hand, with mosquitto_rr
        "operators/7/answers",
        "reply/5f6f2f5e-7a3c-4e5c-9d0f-6b8f4f8b7c11",
        "paho/request-response/client-1",
        "/leading/slash",
        "org/acme/clients/7",  # a tree for clients beside the devices
        "org/acme/device",
        "org/acme",
        f"{ME}/response",  # where the answer would go anyway
        f"{ME}/response/7",  # where a device may write only in its own tree
        "devices/acme/D-2/status",  # no tree of petalkit's, with this base topic
        "x" * TOPIC_MAX,
        "/" * (LEVELS_MAX - 1),
        "response.7",
    ],
)
def test_what_callers_name_is_answered_by_default(topic: str) -> None:
    assert objection(topic) is None


@pytest.mark.parametrize("reply_topics", [("#",), ("org/#", "+/+/+/+/#", "$SYS/#")])
@pytest.mark.parametrize(
    "topic",
    [
        f"{OTHER}/response",
        f"{OTHER}/response/7",
        f"{OTHER}/status",
        f"{OTHER}/command",
        f"{OTHER}/command/edge",
        f"{OTHER}/command/web",
        f"{OTHER}/debug",
        f"{OTHER}/ack",
        f"{OTHER}/anything/else",
        OTHER,
        "org/other/device/D-2/status",
        "org//device//status",
        f"{ME}/status",
        f"{ME}/command",
        f"{ME}/command/edge",
        f"{ME}/command/web",
        f"{ME}/command/other",
        f"{ME}/debug",
        f"{ME}/ack",
        f"{ME}/ack/7",
        f"{ME}/telemetry",
        f"{ME}/responses",
        f"{ME}/",
        ME,
        # To RabbitMQ a dot is a slash.
        OTHER.replace("/", ".") + ".status",
        f"{OTHER}.status",
        f"{ME}.status",
        "org/acme.device/D-1/status",
        "$SYS/broker",
        "$share/group/answers",
        "answers/+",
        "answers/#",
        "",
        "bad\x01",
        "x" * (TOPIC_MAX + 1),
        "é" * 128,  # 256 bytes
        "/" * LEVELS_MAX,
        "/" * 300,  # mosquitto passes it on, and ends the connection of who publishes there
    ],
)
def test_no_setting_opens_what_is_a_devices_or_the_brokers(
    topic: str, reply_topics: tuple[str, ...]
) -> None:
    assert objection(topic, reply_topics=reply_topics)


def test_another_organization_is_answered_where_a_filter_names_it() -> None:
    topic = "org/hq/clients/7"
    assert "another organization's" in (objection(topic) or "")
    assert objection("org.hq.clients.7")
    assert objection(topic, reply_topics=("#", "+/hq/#"))
    assert objection(topic, reply_topics=("org/hq/#",)) is None
    assert objection("org/hq/device/D-2/status", reply_topics=("org/hq/#",))


@pytest.mark.parametrize(
    ("base_topic", "topic", "refused"),
    [
        ("devices/{organization_id}-{device_id}", "devices/acme-D-2/command", True),
        ("devices/{organization_id}-{device_id}", "devices/acme-D-1/response", False),
        ("devices/{organization_id}-{device_id}", "devices/clients", False),
        ("fleet/{device_id}", "fleet/D-2/status", True),
        ("fleet/{device_id}", "org/other/7", False),
        ("a.b/{organization_id}/{device_id}", "a/b/acme/D-2/status", True),
        ("a.b/{organization_id}/{device_id}", "a.b/acme/D-2/status", True),
        ("one", "one/status", True),
        ("one", "one/response", False),
        # Any topic of two levels could be a device's; so there it is what petalkit says.
        ("{organization_id}/{device_id}", "operators/7/answers", False),
        ("{organization_id}/{device_id}", "acme/D-2/status", True),
        ("{organization_id}/{device_id}", "acme/D-2/response", True),
        ("{organization_id}/{device_id}", "acme/D-2/command/web", True),
        ("{organization_id}/{device_id}", "acme/D-1/response", False),
    ],
)
def test_the_tree_follows_the_base_topic(base_topic: str, topic: str, *, refused: bool) -> None:
    assert bool(objection(topic, base_topic=base_topic)) is refused


def test_what_stands_below_the_response_topic_is_still_what_it_is() -> None:
    below = {"response_topic": "out", "status_topic": "out/status", "web_topic": "out/web/x"}
    assert objection(f"{ME}/out/7", **below) is None
    for name in ("out/status", "out/status/7", "out/web/x", "out/web.x", "command"):
        assert objection(f"{ME}/{name}", **below), name


def test_what_an_earlier_run_has_left_needs_no_identity() -> None:
    topics = ResponseTopics(Settings(), Counters())
    assert topics.objection("rr/7", None) is None
    assert topics.objection(f"{ME}/response/7", None) is None
    for topic in (f"{OTHER}/response", f"{OTHER}/status", "$SYS/a"):
        assert topics.objection(topic, None), topic


def test_a_text_for_people_does_not_repeat_a_long_topic() -> None:
    for topic in ("x" * 4000, "$" + "x" * 200, f"{OTHER}/" + "x" * 200):
        assert len(objection(topic) or "") < 300


def test_a_refused_one_is_counted_and_no_reply() -> None:
    counters = Counters()
    topics = ResponseTopics(Settings(), counters)
    identity = Identity("acme", "D-1")
    reply, why = topics.reply(Properties(response_topic=f"{OTHER}/status"), identity)
    assert reply is None
    assert "tree of a device" in (why or "")
    assert counters.response_topics_refused == 1
    reply, why = topics.reply(Properties(response_topic=f"{ME}/response"), identity)
    assert reply is not None
    assert reply.is_usual
    assert (why, counters.response_topics_refused) == (None, 1)


def test_what_is_remembered_is_of_one_identity_and_bounded() -> None:
    topics = ResponseTopics(Settings(), Counters())
    first, second = Identity("acme", "D-1"), Identity("acme", "D-2")
    mine = Properties(response_topic=f"{ME}/response")
    for _ in range(2):
        assert topics.reply(mine, first)[0] is not None
        assert topics.reply(mine, second)[0] is None
    for number in range(1000):
        reply, _ = topics.reply(Properties(response_topic=f"rr/{number}"), first)
        assert reply is not None
        assert not reply.is_usual
    assert len(topics._known) <= 256
