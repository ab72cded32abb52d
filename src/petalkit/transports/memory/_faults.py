"""What the in-process broker is to do wrong: faults on demand, until they are used up or ended."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from ..._values.errors import ConnectFailed, RejectedByBroker
from ..._values.topics import TopicFilter
from .._broker.core.policy import Policy

Swallowed = Literal["CONNACK", "SUBACK", "UNSUBACK", "PUBACK", "client PUBACK"]


class Faults(Policy):
    """See the module; `MemoryBroker` says what each is.

    Attributes:
        refusals: connects that are to fail.
        refusal_code: of the CONNACK that says so; None for a closed port.
        swallowing: packets that are to be lost on their way, by kind.
        duplicates: messages that are to be delivered twice.
        rejected_publishes: reason codes of the PUBACK, by topic filter.
        rejected_subscriptions: reason codes of the SUBACK, by topic filter.
        granted: QoS, where it is less than asked, by topic filter.
    """

    def __init__(self) -> None:
        self.refusals = 0.0
        self.refusal_code: int | None = None
        self.swallowing: Counter[Swallowed] = Counter()
        self.duplicates = 0
        self.rejected_publishes: dict[TopicFilter, int] = {}
        self.rejected_subscriptions: dict[TopicFilter, int] = {}
        self.granted: dict[TopicFilter, int] = {}

    def check_connect(self) -> None:
        """A CONNECT came.

        Raises:
            ConnectFailed, RejectedByBroker: it is to fail.
        """
        if self.refusals > 0:
            self.refusals -= 1
            if self.refusal_code is None:
                raise ConnectFailed("the broker refused the connection")
            raise RejectedByBroker(self.refusal_code, "a refusal on demand")

    def publish_code(self, topic: str) -> int:
        """See `Policy`."""
        rejected = self.rejected_publishes.items()
        return next((code for one, code in rejected if one.matches(topic)), 0)

    def grant(self, topic_filter: TopicFilter, qos: int) -> int:
        """See `Policy`."""
        if code := self.rejected_subscriptions.get(topic_filter):
            return code
        return self.granted.get(topic_filter, qos)

    def copies(self) -> int:
        """See `Policy`."""
        if not self.duplicates:
            return 1
        self.duplicates -= 1
        return 2

    def swallows(self, packet: Swallowed) -> bool:
        """Whether this packet is lost on its way."""
        if self.swallowing[packet] <= 0:
            del self.swallowing[packet]
            return False
        self.swallowing[packet] -= 1
        return True
