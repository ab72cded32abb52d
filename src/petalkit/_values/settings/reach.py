"""Settings that do nothing beside others: refused, or said once at the start.

The rule: what is declared has an effect, or its user is told. A setting whose effect would be
missed is refused with the transport `sidecar`, which has no words for it. One that only bounds what
cannot come, or that waits for a change of the transport, is named in the log instead: one
configuration may serve a device before and after that.
"""

from __future__ import annotations

from typing import Any

import attrs

from ..errors import ConfigError

_CLIENTS = "it is set at the external client"
_SESSION = "the session is the external client's, and set there"
# With the sidecar. The will and what MQTT 5 alone has need protocol 5, which it has not.
_REFUSED = {
    "status_retain": "its HTTP has no retained flag, so status is never retained",
    "packet_maximum": _CLIENTS,
    "client_id": _CLIENTS,
    "former_client_id": _SESSION,
    "clean_start": _SESSION,
    "session_expiry": _SESSION,
    "keep_alive": f"{_CLIENTS}; sidecar_probe_interval says how often we look for it",
    "probe_interval": "it is the external client that gets what the broker delivers",
    "receive_maximum": f"{_CLIENTS}; callback_connections bounds what it may send at once",
    "username": _CLIENTS,
    "username_file": _CLIENTS,
    "username_source": _CLIENTS,
    "password": _CLIENTS,
    "password_file": _CLIENTS,
    "password_source": _CLIENTS,
    "alpn": "it is for the way to a broker, which is the external client's",
}
# Of MQTT 5: the bounds of what 3.1.1 has not, and what its brokers decide by themselves.
_OF_MQTT_5 = ("properties_max", "reply_topics", "caller_property")
_IDLE_WITH_3_1_1 = ("session_expiry", "receive_maximum", *_OF_MQTT_5)
_OF_SIDECAR = ("sidecar_", "callback_")
_IDLE_WITH_SIDECAR = {
    **dict.fromkeys(_OF_MQTT_5, "it is of MQTT 5"),
    "puback_margin": "there are no PUBACKs and no PINGREQs",
    "probe_timeout": _REFUSED["probe_interval"],
    "probe_topic": _REFUSED["probe_interval"],
}
# What bounds or names a thing that is off.
_IDLE_WITHOUT = {
    "probe_timeout": "probe_interval",
    "probe_topic": "probe_interval",
    "replay_count": "replay_window",
    "caller_property": "callers_max",
}

_OF_WAIT = ("petal_overflow_wait", "petal_overflow_rate")


def refuse_without_effect(settings: Any) -> None:
    """Refuse what the transport has no words for.

    Raises:
        ConfigError: a setting would do nothing; it is named, and the one that it cannot go with.
    """
    if settings.transport == "sidecar":
        for name in _given(settings):
            if name in _REFUSED:
                text = f'does nothing with transport = "sidecar": {_REFUSED[name]}'
                raise ConfigError(name, text)


def without_effect(settings: Any) -> list[str]:
    """What else does nothing: a line for each setting."""
    found: list[str] = []
    for name in _given(settings):
        if settings.transport == "sidecar":  # `broker` is for `petalkit call`, and for a way back
            if name in _IDLE_WITH_SIDECAR:
                why = _IDLE_WITH_SIDECAR[name]
                found.append(f'{name} does nothing with transport = "sidecar": {why}')
        elif name.startswith(_OF_SIDECAR):
            found.append(
                f'{name} does nothing with transport = "{settings.transport}": it is of "sidecar"'
            )
        elif name == "session_expiry" and not settings.session_expiry:
            continue  # 0 is a clean session, with 3.1.1 too
        elif name in _IDLE_WITH_3_1_1 and settings.protocol == "3.1.1":
            found.append(f'{name} does nothing with protocol = "3.1.1": set protocol = "5" for it')
        elif name in _IDLE_WITHOUT and not getattr(settings, _IDLE_WITHOUT[name]):
            found.append(f"{name} does nothing with {_IDLE_WITHOUT[name]} = 0")
        elif name.startswith("compat_http_") and settings.compat_http == "off":
            found.append(f'{name} does nothing with compat_http = "off"')
        elif name in _OF_WAIT and settings.overflow != "wait":
            found.append(f'{name} does nothing with overflow = "{settings.overflow}"')
    return found


def _given(settings: Any) -> list[str]:
    """The names of those that are not as by default."""
    return [
        one.name
        for one in attrs.fields(type(settings))
        if not isinstance(one.default, attrs.Factory)  # type: ignore[arg-type]
        and getattr(settings, one.name) != one.default
    ]
