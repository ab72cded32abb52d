"""The topics of one device, and on which of them it answers.

The rule: with MQTT 5 a client is answered on a topic of its own, so that it reads nobody else's
answers and nobody else reads its. It stands below the device's `response`, where any device may
answer by its own rules, and many brokers let it. A device that is served with MQTT 3.1.1, or
allows no such topic, answers on `response` all the same; so at first both are asked for. What came
on the topic of its own has shown that this is enough. The trap: a device may come back as another,
so a call that waited in vain, and each new link, begin anew.
"""

from __future__ import annotations

import enum

import trio

from ..._values.messages import Identity
from ..._values.settings.settings import Settings
from ..._values.topics import TopicFilter


class Asks(enum.Enum):
    """Where a device is asked to answer."""

    SHARED = "on `response`"
    BOTH = "on `response` and on a topic of the client's own"
    OWN = "on a topic of the client's own"


class Route:
    """One device.

    Args:
        identity: who it is.
        settings: the topics.
        client_id: of the client, for the topic of its own.

    Attributes:
        identity: who it is.
        command: the topic of its commands.
        response: of its responses to everybody.
        own: of those to this client; `own_topic` is its text.
        web: of its events.
        status: of its birth and its will.
        asks: where it is to answer.
        ready: whether the client is subscribed to that.
        preparing: held by who subscribes to it.
        seconds: answers that came on `response` and are still to come on the other topic.
        uses: calls and readers that need it now.
    """

    def __init__(self, identity: Identity, settings: Settings, client_id: str) -> None:
        self.identity = identity
        self.command = identity.topic(settings.command_topics[0])
        self.response = TopicFilter(identity.topic(settings.response_topic))
        self.own = TopicFilter(f"{self.response}/{client_id}")
        self.own_topic = str(self.own)
        self.web = TopicFilter(identity.topic(settings.web_topic))
        self.status = TopicFilter(identity.topic(settings.status_topic))
        self.asks = self._first = Asks.BOTH if settings.speaks_mqtt_5 else Asks.SHARED
        self.ready = False
        self.preparing = trio.Lock()
        self.uses = 0
        self.seconds = 0

    def forget(self) -> bool:
        """Ask it as at first; whether that is another way than before."""
        if self.asks is not Asks.OWN:
            return False
        self.asks, self.ready = self._first, False
        return True

    def refuse_own(self) -> None:
        """The broker does not let the client have a topic of its own."""
        self.asks = self._first = Asks.SHARED
