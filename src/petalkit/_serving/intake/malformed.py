"""Messages that break MQTT and could be acknowledged all the same: see `Fault`.

The rule: each is counted, and acknowledged, and nothing that a sender repeats fills a log. Never
what was in them.
"""

from __future__ import annotations

import logging

from ..._values.codec import InvalidEnvelope
from ..._values.errors import ErrorCode
from ..._values.messages import Identity
from ...transports import Delivery, Fault
from ..ledger.acknowledgement import Acknowledgements
from ..sending.responses import Responses

logger = logging.getLogger("petalkit.intake")

TOPIC_SHOWN = 200  # characters: one can have 65 535


class MalformedMessages:
    """See the module.

    Args:
        responses: reports them on `debug`, since nobody can be answered, and counts them.
        acknowledgements: told that they are refused.
    """

    def __init__(self, responses: Responses, acknowledgements: Acknowledgements) -> None:
        self._acknowledgements = acknowledgements
        self._responses = responses

    def refuse(self, delivery: Delivery, identity: Identity, fault: Fault) -> None:
        """Deal with one; in its turn it is acknowledged, with a reason code where there is one."""
        self._responses.counters.malformed += 1
        topic = delivery.topic[:TOPIC_SHOWN]
        if self._responses.lines.allows(logger, logging.WARNING, "refused, as it breaks MQTT"):
            logger.warning("refused a message on %r that breaks MQTT: %s", topic, fault.text)
        error = InvalidEnvelope(ErrorCode.INVALID_COMMAND, f"no message of MQTT: {fault.text}")
        if not self._responses.reports.unreadable(identity, topic, error):
            self._responses.counters.unanswered += 1
        self._acknowledgements.refused(delivery)
