"""Intake: what is read, accepted or refused, and when it is acknowledged."""

from __future__ import annotations

from typing import Literal

import attrs

from ..checks import at_least, count, one_of, seconds, some_bytes, topic_filters
from ..fields import KIB, MIB, setting

Overflow = Literal["wait", "reject", "drop-oldest"]
Acknowledge = Literal["accepted", "handled"]
AnswerUnknown = Literal["all", "own", "none"]
ClockUnset = Literal["accept", "refuse"]
UnknownKeysRule = Literal["ignore", "refuse"]


@attrs.frozen(kw_only=True, slots=False)
class IntakeSettings:
    """Intake: what is read, accepted or refused, and when it is acknowledged."""

    channel_capacity: int = setting(
        1000, "Accepted commands that have not started, at most.", check=count
    )
    channel_bytes: int = setting(
        16 * MIB,
        "Payload bytes of accepted commands that have not started, at most.",
        unit="bytes",
        check=some_bytes,
    )
    channel_reserve: int = setting(
        32,
        "Commands still read when the channel is full, so that urgent ones among them start.",
        check=at_least(0),
    )
    petal_share: float = setting(
        0.0,
        "Share of the channel, and of the backlog on disk, that commands of one petal may fill, so "
        "that one that is slow holds up no other; 0 for equal parts.",
        check=at_least(0, at_most=1),
    )
    overflow: Overflow = setting(
        "wait",
        "What to do with commands when the channel is full.",
        check=one_of("wait", "reject", "drop-oldest"),
    )
    petal_overflow_wait: float = setting(
        0.25,
        "With overflow wait and several petals: how long commands beyond their petal's share may "
        "hold up others, unacknowledged, before they are refused.",
        unit="s",
        check=seconds,
    )
    petal_overflow_rate: float = setting(
        500.0,
        "With overflow wait and several petals: commands a second that a petal beyond its share "
        "has to start. One that does refuses nothing, however long it takes; 0 for one that does "
        "not stand still.",
        unit="1/s",
        check=at_least(0),
    )
    pause_warning: float = setting(
        0.5,
        "Seconds of a minute without reading, because there is no room, that are told in the log; "
        "0 for never.",
        unit="s",
        check=seconds,
    )
    acknowledge: Acknowledge = setting(
        "accepted",
        "When a command is acknowledged to the broker.",
        check=one_of("accepted", "handled"),
    )
    payload_max: int = setting(
        128 * KIB,
        "Largest payload, in and out.",
        unit="bytes",
        check=at_least(128, at_most=128 * MIB),  # half of what a packet of MQTT can hold
    )
    properties_max: int = setting(
        4 * KIB,
        "Largest properties of a command: texts and correlation data together (MQTT 5).",
        unit="bytes",
        check=at_least(0),
    )
    reply_topics: tuple[str, ...] = setting(
        ("#",),
        "Which Response Topics of commands are answered, as topic filters (MQTT 5): never one in "
        "the tree of a device, except this one's own response and what is below it.",
        check=topic_filters,
    )
    depth_max: int = setting(
        32, "Deepest nesting of a command's JSON.", check=at_least(2, at_most=200)
    )
    message_id_max: int = setting(
        256, "Longest messageId.", unit="characters", check=at_least(16, at_most=4096)
    )
    answer_unknown: AnswerUnknown | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(one_of("all", "own", "none")),
        metadata={
            "help": "Which unknown commands are answered: all, those under an own prefix, or none.",
            "unit": "",
            "secret": False,
            # Where such petals are served, their old host may run beside.
            "default": "all, with petals of the guide own",
        },
    )
    unknown_keys: UnknownKeysRule = setting(
        "ignore",
        "What to do with keys of a command's data that its handler does not know: ignore them, and "
        "name each in the log once, or refuse it. A petal and a command may say otherwise.",
        check=one_of("ignore", "refuse"),
    )
    refusals_logged: float = setting(
        10.0,
        "Log lines about refusals, copies and the like, of one kind, at most; 0 for none. How many "
        "more there were is told every 10 s.",
        unit="1/s",
        check=seconds,
    )
    debug_rate: float = setting(
        1.0,
        "Reports of unreadable commands on the debug topic, at most.",
        unit="1/s",
        check=seconds,
    )

    # -- commands that are too old
    command_age_max: float = setting(
        0.0,
        "How old a command may be by its timestamp, which it must have then; 0 for any age.",
        unit="s",
        check=seconds,
    )
    clock_skew_max: float = setting(
        30.0,
        "How far the clocks of sender and device may differ, where command_age_max is judged.",
        unit="s",
        check=seconds,
    )
    clock_unset: ClockUnset = setting(
        "accept",
        "What to do with commands that need the device's clock to be judged while it is surely not "
        "set: accept them unjudged, or refuse them.",
        check=one_of("accept", "refuse"),
    )
