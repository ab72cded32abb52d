"""Settings: every one described and checked; a bad one is refused by name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import attrs
import pytest

from petalkit import ConfigError, Settings


def test_every_setting_has_a_help_text_and_a_unit_where_it_measures() -> None:
    for field in attrs.fields(Settings):
        assert field.metadata["help"].endswith("."), field.name
        if field.name.endswith(("_timeout", "_delay_min", "_delay_max", "_age", "_expiry")):
            assert field.metadata["unit"] == "s", field.name
        if field.name.endswith("_bytes"):
            assert field.metadata["unit"] == "bytes", field.name


def test_the_defaults_are_the_promised_ones() -> None:
    settings = Settings()
    assert settings.channel_capacity == 1000
    assert settings.channel_bytes == 16 * 1024 * 1024
    assert settings.concurrency == 64
    assert settings.petal_concurrency == 16
    assert settings.duplicate_window == 1000
    assert settings.receive_maximum == 100
    assert settings.payload_max == 128 * 1024
    assert (settings.grace, settings.keep_alive, settings.session_expiry) == (10, 20, 3600)
    assert settings.channel_reserve == 32
    assert settings.overflow == "wait"
    assert settings.acknowledge == "accepted"
    assert (settings.dialect, settings.ack_topic) == (None, "ack")
    assert settings.organization_file == Path("/etc/petalkit/organization.json")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("concurrency", 0), ("concurrency", 1.5), ("concurrency", True), ("concurrency", "4"),
        ("grace", -1), ("grace", math.nan), ("grace", None), ("publish_timeout", 0),
        ("keep_alive", 0), ("keep_alive", 65_536), ("receive_maximum", 65_536),
        ("payload_max", 10), ("depth_max", 1), ("depth_max", 1000), ("message_id_max", 1),
        ("session_expiry", -1), ("duplicate_window", -1),
        ("overflow", "drop"), ("acknowledge", "never"), ("answer_unknown", "some"),
        ("protocol", "4"), ("protocol", 4),
        ("organization_id", "a/b"), ("organization_id", ""), ("device_id", "+"),
        ("client_id", ""), ("client_id", "a\0"), ("client_id", "\udcff"), ("client_id", 5),
        ("client_id", "x" * 65_536),
        ("username", "a\0"), ("username", "x" * 65_536), ("password", "x" * 65_536),
        ("payload_max", 1024**3),
        ("base_topic", "org/{nobody}"), ("base_topic", "org/#"), ("base_topic", "a/{"),
        ("base_topic", "{device_id.x}"), ("base_topic", "{device_id[0]}"), ("base_topic", "{}"),
        ("base_topic", "{device_id:999999999}"), ("base_topic", "{device_id!r}"), ("base_topic", 5),
        ("dialect", "host"), ("ack_topic", "a/#"), ("ack_topic", "/a"),
        ("response_topic", "a/+"), ("response_topic", "/a"), ("response_topic", ""),
        ("command_topics", ("a", "b/")),
        ("command_topics", ()),
        ("command_topics", "command"),
        ("callback_hosts", "drone"), ("callback_hosts", ("drone:1",)), ("callback_hosts", ("a/b",)),
        ("reply_topics", ("a/#/b",)),
        ("reply_topics", ("$share/group/a",)),
        ("reply_topics", "#"),
        ("broker", "localhost"), ("broker", "mqtt://"), ("broker", "mqtt://host:port"),
        ("broker", "mqtt://user:hunter2@host"), ("broker", "mqtt://host:99999"),
        ("broker", "user:hunter2@host:1883"), ("broker", "mqtt://user:hunter2/x@host"),
        ("reconnect_delay_max", 0.1),
        ("cert_file", Path("a.pem")), ("key_file", Path("a.pem")), ("password", "x"),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(**{name: value})
    assert caught.value.setting in (name, "cert_file")
    assert str(caught.value).startswith(caught.value.setting)
    assert "hunter2" not in str(caught.value)


def test_a_password_is_not_shown() -> None:
    assert "hunter2" not in repr(Settings(username="u", password="hunter2"))


def test_they_are_frozen_and_changed_by_evolve() -> None:
    settings = Settings()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        settings.grace = 1.0  # type: ignore[misc]
    assert attrs.evolve(settings, grace=1.0).grace == 1.0
    with pytest.raises(ConfigError):
        attrs.evolve(settings, grace=-1.0)


def test_limits_of_zero_and_without_end_are_possible() -> None:
    Settings(grace=0, flush_timeout=0, cleanup_timeout=0, disconnect_timeout=0, channel_reserve=0)
    Settings(publish_timeout=math.inf, response_expiry=math.inf, duplicate_age=math.inf)


def test_a_file_may_give_the_protocol_without_quotes() -> None:
    assert Settings(protocol=5).protocol == "5"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other", [{"transport": "sidecar", "protocol": "5"}, {"protocol": "3.1.1"}]
)
def test_a_bound_of_packets_is_refused_where_nobody_could_be_told_of_it(
    other: dict[str, Any],
) -> None:
    assert Settings(protocol="5", packet_maximum=2000).packet_maximum == 2000
    assert Settings(transport="native", packet_maximum=2000).packet_maximum == 2000
    with pytest.raises(ConfigError, match="packet_maximum"):
        Settings(packet_maximum=2000, **other)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"protocol": "3.1.1"}, 'needs protocol "5"'),
        ({"protocol": "5", "session_expiry": 29}, r"at most session_expiry \(29 s\)"),
        ({"protocol": "5", "clean_start": True}, "clean_start"),
    ],
)
def test_a_will_that_waits_needs_a_session_that_lasts(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text) as caught:
        Settings(will_delay=30, **given)
    assert caught.value.setting == "will_delay"
    assert Settings(will_delay=30, protocol="5", session_expiry=30).will_delay == 30
    assert Settings(will_delay=30, transport="native").will_delay == 30
