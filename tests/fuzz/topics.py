"""Topics, topic filters and the segments of an identity."""

from __future__ import annotations

import re

from petalkit import Identity, Settings, TopicError, TopicFilter
from petalkit._values.response_topics import TOPIC_MAX, ResponseTopics
from petalkit._values.statistics import Counters
from petalkit._values.topics import check_segment, check_topic

LONGEST = 65_535
_ME = Identity("acme", "D-1")
_RESPONSES = ResponseTopics(Settings(), Counters())


def topics(data: bytes) -> None:
    """A filter and a topic, with a line break between them."""
    left, _, right = data.partition(b"\n")
    filter_text = left.decode("utf-8", "surrogateescape")
    topic = right.decode("utf-8", "surrogateescape")
    is_topic = _check_topic(topic)
    _check_response_topic(topic, is_topic=is_topic)
    _check_segment(topic)
    try:
        found = TopicFilter(filter_text)
    except TopicError as error:
        assert str(error)
        return
    assert str(found) == filter_text
    assert 0 < len(filter_text.encode()) <= LONGEST
    assert found == TopicFilter(filter_text)
    assert hash(found) == hash(TopicFilter(filter_text))
    plain = filter_text
    if found.share is not None:
        assert found.share
        assert not set(found.share) & set("/+#")
        plain = filter_text.removeprefix(f"$share/{found.share}/")
        assert plain
        if not plain.startswith("$share/"):
            TopicFilter(plain)
    if is_topic:
        assert found.matches(topic) is _matches(plain, topic), (filter_text, topic)


def _check_topic(topic: str) -> bool:
    try:
        assert check_topic(topic) == topic
    except TopicError:
        return False
    assert 0 < len(topic.encode()) <= LONGEST
    assert not set(topic) & set("+#\0\r\n")
    exact = TopicFilter(topic) if not topic.startswith("$share/") else None
    assert exact is None or exact.matches(topic)
    return True


def _check_response_topic(topic: str, *, is_topic: bool) -> None:
    for identity in (_ME, None):
        if _RESPONSES.objection(topic, identity) is not None:
            continue
        assert is_topic
        assert len(topic.encode()) <= TOPIC_MAX
        assert not topic.startswith("$")
        match topic.replace(".", "/").split("/"):
            case ["org", organization, "device", device, name, *more]:
                assert name == "response"
                assert more or identity is not None
                assert identity is None or (organization, device) == ("acme", "D-1")
            case ["org", _, "device", _]:
                raise AssertionError(topic)
            case _:
                pass


def _check_segment(text: str) -> None:
    try:
        assert check_segment(text, "it") == text
    except TopicError:
        return
    assert 0 < len(text) <= 128
    identity = Identity(text, "device")
    assert identity.topic("command").split("/")[1] == text
    assert TopicFilter("org/+/device/+/command").matches(identity.topic("command"))


def _matches(filter_text: str, topic: str) -> bool:
    """MQTT 5.0, section 4.7, by other means than petalkit's: as a regular expression."""
    if topic[0] == "$" and filter_text[0] in "+#":
        return False
    pattern = ""
    for number, level in enumerate(filter_text.split("/")):
        slash = "/" if number else ""
        match level:
            case "#":
                pattern += f"({slash}.*)?"  # the level above it too
            case "+":
                pattern += f"{slash}[^/]*"
            case _:
                pattern += slash + re.escape(level)
    return re.fullmatch(pattern, topic, re.DOTALL) is not None
