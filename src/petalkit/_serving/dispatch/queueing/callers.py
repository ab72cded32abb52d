"""Who has sent a command, as far as that can be told: only to be fair, never to allow anything.

In this order: a user property that names the caller, the Response Topic, the topic. The trap: all
of them can be forged. Whoever invents names has more turns, and is bounded by `FairQueue`; whoever
takes another's name shares its turns.
"""

from __future__ import annotations

from collections.abc import Hashable

from ...._values.messages import NO_PROPERTIES, Properties
from ...._values.settings.settings import Settings


class Callers:
    """See the module.

    Args:
        settings: how they are told apart.

    Attributes:
        most: how many in one line.
    """

    def __init__(self, settings: Settings) -> None:
        self.most = settings.callers_max
        self._property = settings.caller_property

    def of(self, topic: str, properties: Properties) -> Hashable:
        """Who has sent what came on this topic, with these properties."""
        if not self.most:
            return None
        if properties is NO_PROPERTIES:
            return topic
        for name, value in properties.user_properties:
            if name == self._property:
                return value
        return properties.response_topic or topic
