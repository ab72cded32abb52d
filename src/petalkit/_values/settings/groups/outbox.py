"""The outbox: what is kept until the broker has acknowledged it."""

from __future__ import annotations

import attrs

from ..checks import count, positive_seconds, some_bytes
from ..fields import MIB, setting


@attrs.frozen(kw_only=True, slots=False)
class OutboxSettings:
    """The outbox: what is kept until the broker has acknowledged it."""

    response_capacity: int = setting(
        2000, "Responses and receipts owed or not yet acknowledged, at most.", check=count
    )
    event_capacity: int = setting(
        1000, "Events and debug messages not yet acknowledged, at most.", check=count
    )
    outbox_bytes: int = setting(
        16 * MIB,
        "Payload bytes of responses and events in the outbox above which commands and events wait.",
        unit="bytes",
        check=some_bytes,
    )
    refusal_capacity: int = setting(
        2000,
        "Answers to refused commands not yet acknowledged, at most: they have places of their own.",
        check=count,
    )
    refusal_bytes: int = setting(
        8 * MIB,
        "Payload bytes of answers to refused commands, at most.",
        unit="bytes",
        check=some_bytes,
    )
    response_expiry: float = setting(
        3600.0, "How long a message is kept for sending.", unit="s", check=positive_seconds
    )
