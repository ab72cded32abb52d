"""Topics, and how what is sent there is worded.

Each topic here stands under the base topic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from ...error_codes import OWN_WORDS, frozen
from ...messages import DEFAULT_BASE_TOPIC
from ..checks import base_topic, error_codes, one_of, relative_topic, relative_topics
from ..fields import setting

DialectName = Literal["guide", "host-0.2"]


@attrs.frozen(kw_only=True, slots=False)
class TopicSettings:
    """Topics, and how what is sent there is worded."""

    base_topic: str = setting(
        DEFAULT_BASE_TOPIC, "What every other topic stands under.", check=base_topic
    )
    command_topics: tuple[str, ...] = setting(
        ("command", "command/edge"), "Where commands come in.", check=relative_topics
    )
    web_topic: str = setting("command/web", "Events to web clients.", check=relative_topic)
    response_topic: str = setting("response", "Responses.", check=relative_topic)
    debug_topic: str = setting(
        "debug", "Debug messages, and refusals that nobody can be answered.", check=relative_topic
    )
    ack_topic: str = setting(
        "ack", "Receipts of commands with waitAck (dialect host-0.2).", check=relative_topic
    )
    probe_topic: str = setting(
        "probe", "What we send to ourselves, with probe_interval.", check=relative_topic
    )
    status_topic: str = setting("status", "Birth and will.", check=relative_topic)
    status_retain: bool = setting(
        True, "Retain birth and will; off for brokers that refuse what is retained."
    )
    dialect: DialectName | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(one_of("guide", "host-0.2")),
        metadata={
            "help": "How responses and events are worded: as the integration guide has it, or as "
            "the host application does since its 0.2.",
            "unit": "",
            "secret": False,
            # What the petals were written for, so are their callers.
            "default": "guide, with petals of the host's @mqtt_action host-0.2",
        },
    )
    error_codes: Mapping[str, str] = attrs.field(
        default=OWN_WORDS,
        converter=frozen,
        validator=error_codes,
        hash=False,
        metadata={
            "help": "Other words for our error codes, for clients that read those: a table of "
            "`OURS = THEIRS`. They stand in every answer that petalkit words.",
            "unit": "",
            "secret": False,
        },
    )
