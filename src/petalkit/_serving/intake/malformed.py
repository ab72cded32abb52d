"""Messages that break MQTT and could be acknowledged all the same: see `Fault`.

The rule: each is counted, and acknowledged, and nothing that a sender repeats fills a log: a
warning now and then says how many there were. Never what was in them.
"""

from __future__ import annotations

import logging

import trio

from ..._values.codec import InvalidEnvelope
from ..._values.errors import ErrorCode
from ..._values.messages import Identity
from ...transports import Delivery, Fault
from ..sending.responses import Responses

logger = logging.getLogger("petalkit.intake")

WARNING_INTERVAL = 10.0  # seconds from one to the next
TOPIC_SHOWN = 200  # characters: one can have 65 535


class MalformedMessages:
    """See the module.

    Args:
        responses: reports them on `debug`, since nobody can be answered, and counts them.
    """

    def __init__(self, responses: Responses) -> None:
        self._responses = responses
        self._warned_at: float | None = None
        self._since = 0

    def refuse(self, delivery: Delivery, identity: Identity, fault: Fault) -> None:
        """Deal with one; in its turn it is acknowledged, with a reason code where there is one."""
        self._responses.counters.malformed += 1
        self._since += 1
        topic = delivery.topic[:TOPIC_SHOWN]
        now = trio.current_time()
        if self._warned_at is None or now - self._warned_at >= WARNING_INTERVAL:
            count = "a message" if self._since == 1 else f"{self._since} messages, the last"
            logger.warning("refused %s on %r that breaks MQTT: %s", count, topic, fault.text)
            self._warned_at = now
            self._since = 0
        error = InvalidEnvelope(ErrorCode.INVALID_COMMAND, f"no message of MQTT: {fault.text}")
        self._responses.report_unreadable(identity, topic, error)
        delivery.ack()
