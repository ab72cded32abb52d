"""What a broker may hold and wait for, at most; each bound has a name, a unit and a reason.

The rule: whatever a client can make grow is bounded here, and what happens beyond the bound is said
in its help. The bounds of one client times the number of clients may be more than the machine has,
so what is queued has a bound for all together as well.
"""

from __future__ import annotations

from typing import Any

import attrs

_KIB = 1024
_MIB = 1024 * _KIB


def _bound(default: float, unit: str, help_: str, most: float = 1 << 40) -> Any:
    def check(_: object, field: Any, value: float) -> None:
        if not 1 <= value <= most:
            raise ValueError(f"{field.name} must be from 1 to {most:g} {unit}, not {value!r}")

    return attrs.field(
        default=default, validator=check, metadata={"unit": unit, "help": help_}, kw_only=True
    )


@attrs.frozen
class Bounds:
    """See the module; `petalkit broker` has an option for each.

    Raises:
        ValueError: one is out of its range.
    """

    max_connections: int = _bound(
        2000, "connections", "Sockets at one time; more are closed as soon as they are accepted."
    )
    connect_timeout: float = _bound(
        10.0, "s", "Time for a client to send its CONNECT; then its connection is closed."
    )
    send_timeout: float = _bound(
        30.0,
        "s",
        "Time for a client to take the next bytes that were sent to it, when its socket is full;"
        " then its connection is closed.",
    )
    max_packet_size: int = _bound(
        _MIB,
        "bytes",
        "The longest packet that a client may send; a longer one ends its connection (0x95).",
        0x0800_0000,
    )
    max_inflight: int = _bound(
        256,
        "messages",
        "Unacknowledged QoS 1 and 2 messages on their way to one client; fewer, where its"
        " Receive Maximum says so.",
        65_535,
    )
    max_queued: int = _bound(
        10_000,
        "messages",
        "QoS 1 and 2 messages that wait for one client, beyond those; newer ones are dropped.",
    )
    max_queued_bytes: int = _bound(
        8 * _MIB,
        "bytes",
        "What waits for one client, and what it has not acknowledged; newer messages are dropped."
        " QoS 0 messages that its socket does not take count apart, with the same bound.",
    )
    max_queued_bytes_total: int = _bound(
        128 * _MIB,
        "bytes",
        "The same for all clients together; a message counts for each of them. What is on its way"
        " to their sockets counts apart, with the same bound. Beyond it each client has an equal"
        " share of as much again.",
    )
    max_sessions: int = _bound(
        10_000,
        "sessions",
        "Sessions, connected or not; a new client is refused beyond them (0x97).",
    )
    max_session_expiry: int = _bound(
        604_800,
        "s",
        "How long the session of an absent client is kept; MQTT 5 clients are told when they asked"
        " for more.",
        0xFFFF_FFFF,
    )
    max_subscriptions: int = _bound(
        1000, "subscriptions", "Subscriptions of one client; more are refused (0x97)."
    )
    max_kept_bytes: int = _bound(
        256 * _MIB,
        "bytes",
        "Subscriptions and wills of all clients together, as memory; more are refused (0x97)."
        " Beyond it each client has an equal share of as much again.",
    )
    max_retained: int = _bound(
        10_000, "messages", "Retained messages; one on a further topic is refused (0x97)."
    )
    max_retained_bytes: int = _bound(
        64 * _MIB, "bytes", "Retained messages together; what does not fit is refused (0x97)."
    )
    max_topic_levels: int = _bound(
        64, "levels", "Levels of a topic or filter; what has more is refused (0x90, 0x8F)."
    )
    max_client_id: int = _bound(
        256, "bytes", "Length of a client ID; a longer one is refused (0x85).", 65_535
    )
    receive_maximum: int = _bound(
        1000,
        "messages",
        "QoS 2 messages of one client that it has not released; more end its connection (0x93).",
        65_535,
    )
    topic_alias_maximum: int = _bound(
        32,
        "aliases",
        "Topic aliases that a client may set; a higher one ends its connection.",
        65_535,
    )

    @property
    def queued_share(self) -> int:
        """Bytes that may wait for any client, whatever waits for others."""
        return self.max_queued_bytes_total // self.max_sessions

    @property
    def kept_share(self) -> int:
        """Bytes of subscriptions and a will that any client may have, whatever others have."""
        return self.max_kept_bytes // self.max_sessions

    @property
    def sending_share(self) -> int:
        """The same of what is on its way to its socket."""
        return self.max_queued_bytes_total // self.max_connections
