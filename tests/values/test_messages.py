"""Commands, responses and identities as values."""

from __future__ import annotations

import attrs
import pytest

from petalkit import Command, Identity, Message, Response, TopicError


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


def test_payloads_do_not_show_in_reprs() -> None:
    assert "hunter2" not in repr(Message("t", b"hunter2"))
    assert "hunter2" not in repr(Command("a/b", data={"x": "hunter2"}, extra={"y": "hunter2"}))


def test_values_are_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Command("a/b").command = "x"  # type: ignore[misc]
