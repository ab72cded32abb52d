"""Topics and filters: valid from birth, and matched as MQTT 5.0 section 4.7 says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petalkit import Identity, TopicError, TopicFilter
from petalkit._values.topics import check_segment, check_topic


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matches"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/c", False),
        ("a/b", "a/b/c", False),
        ("a/b", "a", False),
        ("a/+", "a/b", True),
        ("a/+", "a/", True),  # an empty level is a level
        ("a/+", "a", False),
        ("a/+", "a/b/c", False),
        ("+/+", "/a", True),
        ("+", "/a", False),
        ("/+", "/a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),  # the parent too: 4.7.1.2
        ("a/#", "ab", False),
        ("#", "a/b", True),
        ("#", "/", True),
        ("+/b/#", "a/b/c", True),
        ("#", "$SYS/uptime", False),  # 4.7.2
        ("+/uptime", "$SYS/uptime", False),
        ("$SYS/#", "$SYS/uptime", True),
        ("a/+", "a/$x", True),
        ("$share/g/a/+", "a/b", True),
        ("$share/g//a", "/a", True),
        ("A/b", "a/b", False),
    ],
)
def test_matching(topic_filter: str, topic: str, matches: bool) -> None:
    assert TopicFilter(topic_filter).matches(topic) is matches


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a/#/b",
        "a#",
        "#a",
        "a/b+",
        "+a/b",
        "a\0b",
        "a\nb",
        "a\x7f",
        "a\x85b",
        "\ud800",
        "x" * 65_536,
        "é" * 40_000,
        "$share",
        "$share/",
        "$share/g",
        "$share/g/",
        "$share/+/a",
        "$share//a",
        "$share/g/a#",
    ],
)
def test_filters_that_break_the_rules_are_refused(text: str) -> None:
    if text == "$share":
        assert TopicFilter(text).share is None  # an ordinary, if odd, topic
        return
    with pytest.raises(TopicError):
        TopicFilter(text)


@pytest.mark.parametrize("text", ["", "a/+", "#", "a\0", "x" * 65_536])
def test_topics_that_break_the_rules_are_refused(text: str) -> None:
    with pytest.raises(TopicError):
        check_topic(text)


@pytest.mark.parametrize("text", ["", "a/b", "+", "a#", " a", "a ", "a\tb", "x" * 129, "\udc00"])
def test_segments_that_would_break_a_topic_are_refused_by_name(text: str) -> None:
    with pytest.raises(TopicError, match="device ID"):
        check_segment(text, "device ID")


@given(st.text(max_size=140), st.text(max_size=140))
def test_an_identity_that_exists_makes_a_topic_of_four_levels(one: str, two: str) -> None:
    try:
        identity = Identity(one, two)
    except TopicError:
        return
    levels = check_topic(identity.topic("command")).split("/")
    assert levels == ["org", one, "device", two, "command"]


@given(st.lists(st.text("ab$", max_size=2), min_size=1, max_size=4).map("/".join))
def test_a_topic_matches_itself(topic: str) -> None:
    if topic and not topic.startswith("$share/"):
        assert TopicFilter(topic).matches(topic)
