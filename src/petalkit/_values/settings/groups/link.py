"""The link: MQTT's session, and how long each step of it may take.

Limits of a wait are limits of silence where a slow line may need longer in all.
"""

from __future__ import annotations

import attrs

from ..checks import at_least, positive_seconds, seconds
from ..fields import setting


@attrs.frozen(kw_only=True, slots=False)
class LinkSettings:
    """The link: MQTT's session, and how long each step of it may take."""

    keep_alive: int = setting(20, "MQTT keep alive.", unit="s", check=at_least(1, at_most=65_535))
    clean_start: bool = setting(False, "Start without the session that the broker kept.")
    session_expiry: int = setting(
        3600,
        "How long the broker keeps the session of an absent device (MQTT 5; a 3.1.1 broker "
        "keeps it as it pleases, unless this is 0).",
        unit="s",
        check=at_least(0, at_most=0xFFFF_FFFF),
    )
    will_delay: int = setting(
        0,
        "How long the broker waits with the will, which a device that is back in time takes away "
        "(MQTT 5).",
        unit="s",
        check=at_least(0, at_most=0xFFFF_FFFF),
    )
    receive_maximum: int = setting(
        100,
        "How many unacknowledged messages the broker may send (MQTT 5).",
        check=at_least(1, at_most=65_535),
    )
    packet_maximum: int = setting(
        0,
        "Longest packet that the broker may send, as it is told (MQTT 5); 0 to tell it none.",
        unit="bytes",
        check=at_least(0, at_most=0xFFFF_FFFF),
    )
    publish_maximum: int = setting(
        100,
        "How many of our messages may wait for their PUBACK at once; the broker may say fewer.",
        check=at_least(1, at_most=65_535),
    )
    connect_timeout: float = setting(
        10.0,
        "Longest silence on the way to a connection and its CONNACK, and a sixth of the longest "
        "attempt.",
        unit="s",
        check=positive_seconds,
    )
    subscribe_timeout: float = setting(
        10.0,
        "Longest silence while a SUBACK, an UNSUBACK or the PUBACK of online is awaited.",
        unit="s",
        check=positive_seconds,
    )
    publish_timeout: float = setting(
        60.0,
        "Longest silence while a PUBACK is awaited and the link is read; then it counts as dead.",
        unit="s",
        check=positive_seconds,
    )
    probe_interval: float = setting(
        0.0,
        "How often a message to ourselves shows that the broker still delivers; 0 for never.",
        unit="s",
        check=seconds,
    )
    probe_timeout: float = setting(
        10.0,
        "Longest time until that message is back, while nothing else comes and the link is read; "
        "then the link is made anew.",
        unit="s",
        check=positive_seconds,
    )
    puback_margin: float = setting(
        2.5,
        "How long a PUBACK may come behind the PINGRESP of a PINGREQ that was sent later; then it "
        "is lost, and the link is made anew. 0 for publish_timeout alone.",
        unit="s",
        check=seconds,
    )
    disconnect_timeout: float = setting(
        2.0, "Longest time for leaving the broker politely.", unit="s", check=seconds
    )
    reconnect_delay_min: float = setting(
        0.5,
        "Upper bound of the first random wait before a reconnect.",
        unit="s",
        check=positive_seconds,
    )
    reconnect_delay_max: float = setting(
        30.0,
        "Upper bound of every random wait before a reconnect.",
        unit="s",
        check=positive_seconds,
    )
    takeover_delay_max: float = setting(
        300.0,
        "Upper bound of the waits while another client seems to take over the session.",
        unit="s",
        check=positive_seconds,
    )
    stable_after: float = setting(
        3.0, "A link that lived so long resets the waits.", unit="s", check=positive_seconds
    )
