"""A setting that does nothing beside the transport or protocol is refused, or told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from petalkit import ConfigError, Petal, Settings, command, open_runtime
from petalkit._values.settings.reach import without_effect

REFUSED: dict[str, Any] = {
    "status_retain": False,
    "client_id": "device-1",
    "clean_start": True,
    "session_expiry": 60,
    "keep_alive": 5,
    "receive_maximum": 10,
    "packet_maximum": 2000,
    "username": "user",
    "username_file": Path("name"),
    "username_source": lambda: "user",
    "alpn": ("mqtt",),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_sidecar_has_no_words_for_is_refused(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(transport="sidecar", **{name: REFUSED[name]})
    assert caught.value.setting == name
    assert 'transport = "sidecar"' in str(caught.value)
    beside = {"protocol": "5"} if name == "packet_maximum" else {}
    Settings(**{name: REFUSED[name]}, **beside)  # with a link of our own it is good


@pytest.mark.parametrize("name", ["password", "password_file", "password_source"])
def test_a_password_for_the_broker_is_not_the_sidecars(name: str) -> None:
    value: Any = Path("p") if name == "password_file" else "hunter2"
    with pytest.raises(ConfigError) as caught:
        Settings(transport="sidecar", username="user", **{name: value})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, []),
        ({"session_expiry": 0}, []),
        ({"session_expiry": 60, "protocol": "5"}, []),
        ({"session_expiry": 60}, ["session_expiry"]),
        ({"reply_topics": ("a/#",), "receive_maximum": 9}, ["receive_maximum", "reply_topics"]),
        ({"reply_topics": ("a/#",), "transport": "native"}, []),
        ({"sidecar_token": "x", "callback_timeout": 1.0}, ["sidecar_token", "callback_timeout"]),
        ({"sidecar_url": "http://127.0.0.1:1", "transport": "native"}, ["sidecar_url"]),
        ({"sidecar_token": "x", "transport": "sidecar"}, []),
        ({"broker": "mqtt://b", "transport": "sidecar"}, []),
        ({"properties_max": 1, "transport": "sidecar"}, ["properties_max"]),
        ({"caller_property": "who"}, ["caller_property"]),
        ({"caller_property": "who", "protocol": "5"}, []),
        ({"caller_property": "who", "protocol": "5", "callers_max": 0}, ["caller_property"]),
        ({"caller_property": "who", "transport": "sidecar"}, ["caller_property"]),
        ({"puback_margin": 9.0}, []),
        ({"puback_margin": 9.0, "transport": "sidecar"}, ["puback_margin"]),
        ({"probe_timeout": 5.0}, ["probe_timeout"]),
        ({"probe_timeout": 5.0, "probe_interval": 60.0, "probe_topic": "x"}, []),
        ({"probe_topic": "x", "transport": "sidecar"}, ["probe_topic"]),
        ({"replay_count": 9, "replay_window": 0.0}, ["replay_count"]),
        ({"petal_overflow_wait": 1.0}, []),
        ({"petal_overflow_wait": 1.0, "overflow": "reject"}, ["petal_overflow_wait"]),
        ({"petal_overflow_rate": 1.0, "overflow": "reject"}, ["petal_overflow_rate"]),
    ],
)
def test_what_else_does_nothing_is_named(settings: dict[str, Any], told: list[str]) -> None:
    found = without_effect(Settings(**settings))
    assert [text.partition(" does nothing with ")[0] for text in found] == told


def test_every_setting_of_the_sidecar_is_known_by_its_name() -> None:
    """Else one more of them would do nothing with another transport, and nobody would say so."""
    for one in attrs.fields(Settings):
        is_its_own = one.name.startswith(("sidecar_", "callback_"))
        assert is_its_own or "external client" not in one.metadata["help"]


class Nothing(Petal):
    name = "nothing"

    @command("go")
    async def go(self) -> None: ...


@pytest.mark.trio
async def test_a_runtime_names_them_at_its_start(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(
        device_id="d", organization_id="o", sidecar_url="http://127.0.0.1:1", flush_timeout=0,
        broker="mqtt://127.0.0.1:1", receive_maximum=7, disconnect_timeout=0,
    )  # fmt: skip
    async with open_runtime([Nothing()], settings):
        pass
    told = [one.getMessage() for one in caplog.records if "does nothing" in one.getMessage()]
    assert [text.split()[0] for text in told] == ["receive_maximum", "sidecar_url"]
