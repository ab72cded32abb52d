"""What is said on `debug` of what came, at a bounded rate."""

from __future__ import annotations

import trio

from ..._values.codec import NO_MESSAGE_ID, InvalidEnvelope, Timestamps, encode_json
from ..._values.dialects import Dialect
from ..._values.messages import Identity
from ..._values.settings.settings import Settings
from .outbox import Outbox

BURST = 10  # reports that may leave at once


class DebugReports:
    """See the module.

    Args:
        settings: the rate, and the topic.
        outbox: where they go.
        timestamps: the wall clock of the wire.
        dialect: how they are worded.
    """

    def __init__(
        self, settings: Settings, outbox: Outbox, timestamps: Timestamps, dialect: Dialect
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._timestamps = timestamps
        self._dialect = dialect
        self._tokens = float(BURST)
        self._at = -1.0

    def unreadable(self, identity: Identity, topic: str, error: InvalidEnvelope) -> bool:
        """Say that something came which nobody can be answered; False when it is not said."""
        now = trio.current_time()
        elapsed = now - self._at if self._at >= 0 else 0.0
        self._at = now
        self._tokens = min(BURST, self._tokens + elapsed * self._settings.debug_rate)
        if self._tokens >= 1:
            report = {
                "timestamp": self._timestamps(),
                "error": error.message,
                "error_code": self._dialect.codes.get(error.code, str(error.code)),
                "topic": topic,
                "messageId": error.message_id or NO_MESSAGE_ID,
            }
            if self._outbox.events.put_nowait(
                encode_json(self._dialect.event(report)),
                qos=0,
                identity=identity,
                name=self._settings.debug_topic,
            ):
                self._tokens -= 1
                return True
        return False
