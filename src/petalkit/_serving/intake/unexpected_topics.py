"""Messages on topics that this identity does not serve: they are not run, and mostly acknowledged.

The rule: what a session brings on another organization's topic was not sent to this device as it is
now. If it is the device's own of before, it is acknowledged and its topic is unsubscribed, or it
would come for ever; if the session is shared, it is left to whom it belongs, unacknowledged.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

from ..._values.messages import Identity
from ..._values.settings.settings import Settings
from ..._values.statistics import Counters
from ...transports import Delivery
from ..ledger.acknowledgement import Acknowledgements
from ..line_limit import LineLimit

logger = logging.getLogger("petalkit.intake")

_ANY = "\0"  # in no topic


class UnexpectedTopics:
    """See the module.

    Args:
        settings: topics.
        counters: what is ignored is counted.
        lines: of the log, about that.
        acknowledgements: told of what is not run.

    Attributes:
        shared: whether what comes on other organizations' topics is theirs.
        left: how many have been left to them.
        on_probe: told the payload of what petalkit has sent to itself, on an earlier link perhaps.
        on_other_organization: told the topic of what is not theirs, but the device's of before.
    """

    def __init__(
        self,
        settings: Settings,
        counters: Counters,
        lines: LineLimit,
        acknowledgements: Acknowledgements,
    ) -> None:
        self._acknowledgements = acknowledgements
        self._settings = settings
        self._counters = counters
        self._lines = lines
        self._without_dots: dict[str, str] = {}  # as RabbitMQ gives them back -> as they are
        self._dots_told = False
        self._other_organization = re.compile("")
        self._probe = ""
        self.shared = False
        self.left = 0
        self.on_probe: Callable[[bytes], None] = lambda _: None
        self.on_other_organization: Callable[[str], None] | None = None

    def expect(self, identity: Identity) -> frozenset[str]:
        """Commands come on the topics of this identity from now on; which these are."""
        names = self._settings.command_topics
        topics = frozenset(map(identity.topic, names))
        without_dots = {topic.replace(".", "/"): topic for topic in topics if "." in topic}
        if without_dots != self._without_dots:
            self._without_dots = without_dots
            self._dots_told = False
        self._probe = identity.topic(self._settings.probe_topic)
        base = self._settings.base_topic.format(organization_id=_ANY, device_id=identity.device_id)
        levels = re.escape(base).replace(re.escape(_ANY), "[^/]+")
        self._other_organization = re.compile(f"{levels}/({'|'.join(map(re.escape, names))})")
        return topics

    def take(self, delivery: Delivery) -> None:
        """One that is on none of these topics."""
        topic = delivery.topic
        if topic == self._probe:
            self._acknowledgements.refused(delivery)
            self.on_probe(delivery.payload)
            return
        self._counters.unexpected_topic += 1
        if self.shared:
            self.left += 1
            return
        self._acknowledgements.refused(delivery)
        if topic in self._without_dots:
            self._tell_of_dots(topic)
        elif self.on_other_organization is not None and self._other_organization.fullmatch(topic):
            self.on_other_organization(topic)
        elif self._lines.allows(logger, logging.WARNING, "ignored, on an unexpected topic"):
            logger.warning("ignored a message on the unexpected topic %r", topic)

    def _tell_of_dots(self, topic: str) -> None:
        """It looks like one of ours with `/` for `.`.

        Then the broker (RabbitMQ) makes no difference between `a.b` and `a/b`, and it may have been
        meant for somebody else.
        """
        if self._dots_told:
            return
        self._dots_told = True
        logger.warning(
            "no command can be taken: the broker gives them on %r and not on %r. RabbitMQ "
            "takes a dot for a slash: IDs and topics must have no dot there. From now on they "
            "are only counted (unexpected_topic)",
            topic,
            self._without_dots[topic],
        )
