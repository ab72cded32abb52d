"""Commands, responses and identities as values."""

from __future__ import annotations

from typing import Any

import pytest

from petalkit import Command, Identity, Message, Properties, Response, TopicError


def test_an_identity_makes_its_topics() -> None:
    identity = Identity("acme", "Instance-1")
    assert identity.base_topic == "org/acme/device/Instance-1"
    assert identity.topic("command/web") == "org/acme/device/Instance-1/command/web"
    assert Identity("a", "d", base_topic="x/{device_id}").base_topic == "x/d"


def test_identities_are_equal_by_value_and_can_be_evolved() -> None:
    one = Identity("a", "d")
    assert one == Identity("a", "d") != Identity("b", "d")
    assert len({one, Identity("a", "d")}) == 1


def test_an_identity_that_breaks_the_topic_is_not_made() -> None:
    with pytest.raises(TopicError, match="organization ID"):
        Identity("a/b", "d")
    with pytest.raises(TopicError, match="device ID"):
        Identity("a", "")


def test_a_response_is_a_mapping_and_its_truth_is_not_success() -> None:
    no = Response({"success": False, "error": "no", "error_code": "NO", "retryable": True})
    assert not no.success
    assert bool(no)
    assert (no.error, no.error_code, no.retryable) == ("no", "NO", True)
    assert (no["error"], no.get("absent"), "error" in no, len(no)) == ("no", None, True, 4)
    yes = Response({"success": True, "messageId": "m", "timestamp": "now", "x": 1})
    assert (yes.success, yes.message_id, yes.timestamp, yes["x"]) == (True, "m", "now", 1)
    assert (yes.error, yes.error_code, yes.retryable) == (None, None, False)
    assert not Response({"success": 1}).success


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"retryable": True, "retry": "same_id"}, "same_id"),
        ({"retryable": True, "retry": "new_id"}, "new_id"),
        ({"retryable": True}, None),
        ({"retryable": True, "retry": "tomorrow"}, None),
        ({"retryable": True, "retry": []}, None),
        ({"retryable": False, "retry": "same_id"}, None),
    ],
)
def test_a_response_says_how_to_send_its_command_again(
    fields: dict[str, Any], said: str | None
) -> None:
    assert Response({"success": False, **fields}).retry == said


@pytest.mark.parametrize(
    ("fields", "success", "error"),
    [
        ({"status": "success", "message": "hello"}, True, None),
        ({"status": "error", "message": "no"}, False, "no"),
        ({"status": "error", "message": "no", "error": "why"}, False, "why"),
        ({"status": "armed"}, True, None),  # a petal's own word, which is not the one for no
        ({"status": None}, False, None),
        ({"status": "armed", "success": True}, True, None),
        ({"status": "success", "success": False, "message": "no"}, False, "no"),
        ({"message": "no"}, False, "no"),
        ({}, False, None),
        ({"status": ["success"]}, False, None),
    ],
)
def test_a_response_says_the_same_in_the_dialect_of_the_host(
    fields: dict[str, Any], success: bool, error: str | None
) -> None:
    response = Response(fields)
    assert (response.success, response.error) == (success, error)


def test_payloads_do_not_show_in_reprs() -> None:
    assert "hunter2" not in repr(Message("t", b"hunter2"))
    assert "hunter2" not in repr(Command("a/b", data={"x": "hunter2"}, extra={"y": "hunter2"}))


def test_values_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Command("a/b").command = "x"  # type: ignore[misc]


def test_the_size_of_properties_is_what_a_sender_can_make_long() -> None:
    properties = Properties(
        response_topic="é",
        correlation_data=b"123",
        content_type="text",
        message_expiry=5,
        user_properties=(("a", "b"), ("a", "bc")),
    )
    assert properties.size == 2 + 3 + 4 + 5
    assert Properties().size == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"response_topic": "x" * 65_536},
        {"content_type": "é" * 32_768},
        {"user_properties": (("a", "\ud800"),)},
        {"correlation_data": b"x" * 65_536},
        {"message_expiry": -1},
        {"message_expiry": 2**32},
    ],
)
def test_properties_that_the_wire_has_no_form_for_are_not_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Properties(**wrong)


def test_payloads_do_not_show_in_rich_either() -> None:
    """Structs of msgspec tell rich all their fields, unless they say otherwise."""
    message = Message("t", b"hunter2", retain=True)
    command = Command("a/b", "m", data={"x": "hunter2"}, extra={"y": "hunter2"})
    assert dict(message.__rich_repr__()) == {
        "topic": "t",
        "qos": 1,
        "retain": True,
        "properties": None,
    }
    assert repr(message) == "Message(topic='t', qos=1, retain=True, properties=None)"
    assert "hunter2" not in str(list(command.__rich_repr__()))
    assert repr(command).startswith("Command(command='a/b', message_id='m', wait_response=False")


def test_what_a_sender_may_keep_to_itself_does_not_show_in_reprs() -> None:
    properties = Properties(correlation_data=b"hunter2", user_properties=(("token", "hunter2"),))
    assert "hunter2" not in repr(properties)
    assert "hunter2" not in repr(Command("a/b", properties=properties))


def test_user_properties_may_be_written_as_a_mapping_or_as_lists() -> None:
    expected = (("trace", "abc"), ("hop", "2"))
    for written in ({"trace": "abc", "hop": "2"}, [["trace", "abc"], ("hop", "2")], expected):
        assert Properties(user_properties=written).user_properties == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"user_properties": "ab"},
        {"user_properties": ["ab"]},
        {"user_properties": [("a", "b", "c")]},
        {"user_properties": [("a", 1)]},
        {"response_topic": 3},
        {"content_type": b"x"},
        {"correlation_data": "x"},
        {"message_expiry": 1.5},
        {"message_expiry": True},
    ],
    ids=str,
)
def test_a_property_of_another_type_is_refused_where_it_is_written(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Properties(**wrong)


@pytest.mark.parametrize(
    "properties",
    [
        Properties(user_properties=(("trace", "a\nb"),)),
        Properties(content_type="text\x7f"),
        Properties(response_topic="a\0b"),
        Properties(response_topic=""),
    ],
    ids=str,
)
def test_what_a_broker_may_hang_up_for_can_be_received_and_is_not_sent(
    properties: Properties,
) -> None:
    with pytest.raises(ValueError, match=r"control character|empty"):
        properties.check_sendable()
