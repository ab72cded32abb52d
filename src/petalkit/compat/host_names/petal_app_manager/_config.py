"""`Config`: what the host reads from its environment when it is imported, and so do we.

petalkit's own settings do not come from here, and nothing here reaches petalkit: petals read it.
A `.env` file, which the host looks for, is not read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs


def _flag(text: str) -> bool:
    return text.lower() in ("true", "1", "yes")


@attrs.frozen
class _Value:
    """One attribute, and the variable that sets it.

    Attributes:
        flat: its name in `Config` itself.
        default: as it is; its type tells how the variable is read.
        variable: without `PETAL_`; None when it is named as `flat`.
    """

    flat: str
    default: Any
    variable: str | None = None

    def get(self) -> Any:
        name = f"PETAL_{self.variable or self.flat}"
        text = os.environ.get(name)
        if text is None:
            return self.default
        kind = type(self.default)
        try:
            return _READ.get(kind, str)(text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise ValueError(f"{name} must be {what}, not {text!r}") from None


_READ: Mapping[type, Any] = {bool: _flag, int: int, float: float}

_GENERAL = (
    _Value("PETAL_LOG_TO_FILE", True, "LOG_TO_FILE"),
    _Value("PETAL_LOG_DIR", "logs", "LOG_DIR"),
    _Value("ACCESS_TOKEN_URL", ""),
    _Value("SESSION_TOKEN_URL", ""),
    _Value("S3_BUCKET_NAME", ""),
    _Value("CLOUD_ENDPOINT", ""),
    _Value("LOCAL_DB_HOST", "localhost"),
    _Value("LOCAL_DB_PORT", 3000),
    _Value("GET_DATA_URL", "/drone/onBoard/config/getData"),
    _Value("SCAN_DATA_URL", "/drone/onBoard/config/scanData"),
    _Value("UPDATE_DATA_URL", "/drone/onBoard/config/updateData"),
    _Value("SET_DATA_URL", "/drone/onBoard/config/setData"),
)

# Times are in seconds where the name does not say otherwise.
_NESTED: Mapping[str, Mapping[str, _Value]] = {
    "RedisConfig": {
        "HOST": _Value("REDIS_HOST", "localhost"),
        "PORT": _Value("REDIS_PORT", 6379),
        "DB": _Value("REDIS_DB", 0),
        "PASSWORD": _Value("REDIS_PASSWORD", None),
        "UNIX_SOCKET_PATH": _Value("REDIS_UNIX_SOCKET_PATH", None),
        "HEALTH_MESSAGE_RATE": _Value("REDIS_HEALTH_MESSAGE_RATE", 3.0),
    },
    "MQTTConfig": {
        "TS_CLIENT_HOST": _Value("TS_CLIENT_HOST", "localhost"),
        "TS_CLIENT_PORT": _Value("TS_CLIENT_PORT", 3004),
        "CALLBACK_HOST": _Value("CALLBACK_HOST", "localhost"),
        "CALLBACK_PORT": _Value("CALLBACK_PORT", 9000),
        "ENABLE_CALLBACKS": _Value("ENABLE_CALLBACKS", True),
        "COMMAND_EDGE_TOPIC": _Value("COMMAND_EDGE_TOPIC", "command/edge"),
        "RESPONSE_TOPIC": _Value("RESPONSE_TOPIC", "response"),
        "TEST_TOPIC": _Value("TEST_TOPIC", "command"),
        "COMMAND_WEB_TOPIC": _Value("COMMAND_WEB_TOPIC", "command/web"),
        "HEALTH_CHECK_INTERVAL": _Value("MQTT_HEALTH_CHECK_INTERVAL", 10.0),
        "HEALTH_PROBE_TIMEOUT_S": _Value(
            "MQTT_HEALTH_PROBE_TIMEOUT_S", 2.0, "MQTT_HEALTH_PROBE_TIMEOUT"
        ),
    },
    "MavLinkConfig": {
        "ENDPOINT": _Value("MAVLINK_ENDPOINT", "udp:127.0.0.1:14551"),
        "BAUD": _Value("MAVLINK_BAUD", 115200),
        "SOURCE_SYSTEM_ID": _Value("MAVLINK_SOURCE_SYSTEM_ID", 2),
        "SOURCE_COMPONENT_ID": _Value("MAVLINK_SOURCE_COMPONENT_ID", 140),
        "MAXLEN": _Value("MAVLINK_MAXLEN", 200),
        "WORKER_SLEEP_MS": _Value("MAVLINK_WORKER_SLEEP_MS", 1.0),
        "HEARTBEAT_SEND_FREQUENCY": _Value("MAVLINK_HEARTBEAT_SEND_FREQUENCY", 5.0),
        "ROOT_SD_PATH": _Value("ROOT_SD_PATH", "fs/microsd/log"),
    },
    "ProxyConfig": {
        "MQTT_RETRY_INTERVAL": _Value("MQTT_RETRY_INTERVAL", 10.0),
        "CLOUD_RETRY_INTERVAL": _Value("CLOUD_RETRY_INTERVAL", 10.0),
        "MQTT_STARTUP_TIMEOUT": _Value("MQTT_STARTUP_TIMEOUT", 5.0),
        "CLOUD_STARTUP_TIMEOUT": _Value("CLOUD_STARTUP_TIMEOUT", 5.0),
        "MQTT_SUBSCRIBE_TIMEOUT": _Value("MQTT_SUBSCRIBE_TIMEOUT", 5.0),
    },
    "RebootConfig": {
        "SITL_MODE": _Value("REBOOT_SITL_MODE", False),
        "ACK_TIMEOUT": _Value("REBOOT_ACK_TIMEOUT", 3.0),
        "HEARTBEAT_DROP_WINDOW_S": _Value(
            "REBOOT_HEARTBEAT_DROP_WINDOW_S", 5.0, "REBOOT_HB_DROP_WINDOW"
        ),
        "HEARTBEAT_DROP_GAP_S": _Value("REBOOT_HEARTBEAT_DROP_GAP_S", 1.5, "REBOOT_HB_DROP_GAP"),
        "HEARTBEAT_RETURN_WINDOW_S": _Value(
            "REBOOT_HEARTBEAT_RETURN_WINDOW_S", 30.0, "REBOOT_HB_RETURN_WINDOW"
        ),
        "HEARTBEAT_POLL_INTERVAL_S": _Value(
            "REBOOT_HEARTBEAT_POLL_INTERVAL_S", 0.05, "REBOOT_HB_POLL_INTERVAL"
        ),
    },
}


def _log_level_outputs() -> None:
    """Where the host's log goes, by level; None: as it is. petalkit's log goes to stderr."""


def _make_class(name: str, content: dict[str, Any]) -> Any:
    return type(name, (), {**content, "__module__": "petal_app_manager"})


def _make() -> Any:
    content = {value.flat: value.get() for value in _GENERAL}
    for group, values in _NESTED.items():
        inside = {name: value.get() for name, value in values.items()}
        content[group] = _make_class(group, inside)
        content |= {value.flat: inside[name] for name, value in values.items()}
    # These two have no flat names, or others.
    level = os.environ.get("PETAL_LOG_LEVEL", "INFO").upper()
    content["PETAL_LOG_LEVEL"] = level
    content["LoggingConfig"] = _make_class(
        "LoggingConfig", {"LEVEL": level, "TO_FILE": content["PETAL_LOG_TO_FILE"]}
    )
    content["PetalUserJourneyCoordinatorConfig"] = _make_class(
        "PetalUserJourneyCoordinatorConfig",
        {"DEBUG_SQUARE_TEST": _Value("DEBUG_SQUARE_TEST", False).get()},
    )
    content["get_log_level_outputs"] = staticmethod(_log_level_outputs)
    return _make_class("Config", content)


Config: Any = _make()
