"""What a broker's "no" means for whoever set the device up.

The codes are those of MQTT 5.0, section 2.4, and of table 3.1 of MQTT 3.1.1, which are below 0x80.
"""

from __future__ import annotations

from ..._values.errors import RejectedByBroker
from ..._values.settings.settings import Settings

_CREDENTIALS = "Compare username and password with what the broker knows."
_VERSION = "version"
_LATER = "Look at the broker: it refuses at this moment. `petalkit run` tries again for ever."

_CONNECT = {
    1: _VERSION,
    2: "Set a client_id that the broker allows.",
    3: _LATER,
    4: _CREDENTIALS,
    5: "",
    0x84: _VERSION,
    0x85: "Set a client_id that the broker allows.",
    0x86: _CREDENTIALS,
    0x87: "",
    0x88: _LATER,
    0x89: _LATER,
    0x8A: "The broker has banned this client: ask whoever runs it.",
    0x8C: "The broker wants another kind of authentication than name, password or certificate.",
    0x95: "The CONNECT is too large for this broker.",
    0x97: "The broker's quota is used up: fewer clients, or a larger quota.",
    0x9A: "The broker keeps no retained messages, such as the status of the device: set "
    "status_retain to false (--no-status-retain).",
    0x9B: "The broker has no QoS 1, which commands and responses need.",
    0x9C: "Set broker to the server that it names.",
    0x9D: "Set broker to the server that it names.",
    0x9F: "The broker takes fewer connects per second: wait, and look who else connects.",
}
AS_DEVICE = (
    "If its policy knows certain client IDs only, as AWS IoT Core's may: stop whatever runs as "
    "this device, and check with --as-device."
)


def connect_todo(error: RejectedByBroker, settings: Settings, *, as_device: bool) -> list[str]:
    """What to do about a CONNACK that refuses."""
    text = _CONNECT.get(error.reason_code, "Look into the broker's log.")
    todo: list[str] = []
    if text == _VERSION:
        if settings.transport == "native":
            text = "The broker has no MQTT 5: use --transport asyncio-mqtt, which speaks 3.1.1."
        else:
            other = "3.1.1" if settings.protocol == "5" else "5"
            text = f"Try the other protocol: --protocol {other}."
    if text:
        todo.append(text)
    if error.reason_code in (4, 5, 0x86, 0x87):
        named = settings.origin_of("username") is not None
        if not named and settings.cert_file is None:
            todo.append("No user name is set: set username, and --password-file.")
        elif named and settings.origin_of("password") is None:
            todo.append("No password is set: --password-file, or PETALKIT_PASSWORD.")
        elif named and _CREDENTIALS not in todo:
            # What mosquitto answers to a wrong password too.
            todo.append(f"The user name or the password may be wrong. {_CREDENTIALS}")
    if error.reason_code in (5, 0x87):
        todo.append("Let this user or certificate connect.")
    if error.reason_code in (2, 5, 0x85, 0x87) and not as_device:
        todo.append(AS_DEVICE)
    return todo


def subscribe_todo(topic: str) -> str:
    """What to do where a subscription is not allowed."""
    return (
        f"Let the device subscribe to {topic} and receive from it: `topic read` in an ACL file of "
        "mosquitto, iot:Subscribe and iot:Receive in a policy of AWS IoT Core."
    )


def publish_todo(topic: str) -> str:
    """What to do where publishing is not allowed."""
    return (
        f"Let the device publish on {topic}: `topic write` in an ACL file of mosquitto, "
        "iot:Publish in a policy of AWS IoT Core."
    )
