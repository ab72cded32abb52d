"""Which topics a sender may name for the answer: the Response Topic of MQTT 5.0, section 4.10.

The trap is a confused deputy: whoever may send a command names the topic, and the device publishes
there with rights of its own. The rules, of which no setting takes one away:

* A device's tree (`base_topic` and what is below it) is for what that device says. Only the device
  itself answers in it, and only on its own `response` and below that.
* `$...` belongs to the broker, and a wildcard is no topic.
* A topic that brokers refuse would cost the device its link: see `TOPIC_MAX` and `LEVELS_MAX`.

What is left is for `reply_topics`. The tree of another organization, where topics begin with
organizations, needs a filter that names it: `#` does not reach there.
"""

from __future__ import annotations

import re
import string

from .messages import Identity, Properties
from .request import Reply, whole_seconds
from .settings.settings import Settings
from .statistics import Counters
from .topics import TopicError, TopicFilter, check_topic

CONTENT_TYPE = "application/json"
TOPIC_MAX = 255  # bytes: RabbitMQ takes no longer one, AWS IoT Core one byte more
LEVELS_MAX = 128  # EMQX takes no more, and mosquitto ends the connection over more than 200
_KNOWN_MAX = 256  # topics of which it is remembered that they may be answered
_SHOWN = 100  # characters of a topic, in a text for people


class ResponseTopics:
    """See the module.

    Args:
        settings: which are allowed, and how long an answer is worth sending.
        counters: for those that are not answered.
    """

    def __init__(self, settings: Settings, counters: Counters) -> None:
        self._allowed = tuple(map(TopicFilter, settings.reply_topics))
        self._named = tuple(one for one in self._allowed if one.levels[0] not in ("+", "#"))
        self._response = settings.response_topic
        # Whatever of these stands below `response_topic` is not part of its answers.
        self._ours = (
            *settings.command_topics,
            settings.web_topic,
            settings.debug_topic,
            settings.ack_topic,
            settings.status_topic,
        )
        self._device = _devices(settings.base_topic, (*self._ours, self._response))
        self._some_response = _pattern(f"{settings.base_topic}/{self._response}/", "")
        self._organization = _organizations(settings.base_topic)
        self._longest = settings.properties_max
        self._expiry = whole_seconds(settings.response_expiry)
        self._counters = counters
        # A caller mostly names the same one again: whether it is the usual one.
        self._known: dict[str, bool] = {}
        self._known_of: Identity | None = None

    def reply(self, properties: Properties, identity: Identity) -> tuple[Reply | None, str | None]:
        """Where these properties ask for an answer, or why none is given there.

        Args:
            properties: of the command.
            identity: under which it came.
        """
        topic = properties.response_topic
        if topic is None:
            return None, None
        if properties.size > self._longest:
            self._counters.response_topics_refused += 1
            return None, f"properties of {properties.size} bytes are more than {self._longest}"
        is_usual = self._known.get(topic) if identity is self._known_of else None
        if is_usual is None:
            reason = self.objection(topic, identity)
            if reason is not None:
                self._counters.response_topics_refused += 1
                return None, reason
            is_usual = self._remember(topic, identity)
        answer = Properties(
            correlation_data=properties.correlation_data,
            message_expiry=self._expiry,
            content_type=CONTENT_TYPE,
        )
        return Reply(topic, answer, is_usual), None

    def _remember(self, topic: str, identity: Identity) -> bool:
        if identity is not self._known_of or len(self._known) >= _KNOWN_MAX:
            self._known.clear()
            self._known_of = identity
        is_usual = self._known[topic] = topic == identity.topic(self._response)
        return is_usual

    def objection(self, topic: str, identity: Identity | None) -> str | None:
        """Why no answer goes to a topic; None when one may.

        Args:
            topic: as its sender names it.
            identity: under which the command came; None where that is not known any more. Then it
                was allowed once, perhaps by other settings.
        """
        size = len(topic) if topic.isascii() else len(topic.encode(errors="replace"))
        if size > TOPIC_MAX or topic.count("/") >= LEVELS_MAX:
            return (
                f"{topic[:_SHOWN]!r}... has more than {TOPIC_MAX} bytes or {LEVELS_MAX} levels, "
                "and not every broker takes that"
            )
        try:
            check_topic(topic)
        except TopicError as error:
            return str(error)
        shown = repr(topic if len(topic) <= _SHOWN else f"{topic[:_SHOWN]}...")
        if topic.startswith("$"):
            return f"{shown} belongs to the broker"
        # To RabbitMQ a dot is a slash: who subscribes to the one gets the other.
        forms = (topic, topic.replace(".", "/")) if "." in topic else (topic,)
        if any(self._device.match(one) for one in forms):
            if not self._is_own_response(topic, forms, identity):
                return f"{shown} is in the tree of a device, where only that device says something"
        elif identity is not None and any(self._is_anothers(one, identity) for one in forms):
            return f"{shown} is another organization's, and no filter of reply_topics names it"
        if not any(allowed.matches(topic) for allowed in self._allowed):
            return f"{shown} is not among reply_topics"
        return None

    def _is_own_response(
        self, topic: str, forms: tuple[str, ...], identity: Identity | None
    ) -> bool:
        """Whether it is this device's `response`, or below it, and nothing else is said there."""
        if identity is None:
            return all(self._some_response.match(one) for one in forms)
        base = f"{identity.base_topic}/"
        name = topic[len(base) :]
        if not (topic.startswith(base) and f"{name}/".startswith(f"{self._response}/")):
            return False
        name = f"{name}/".replace(".", "/")
        return not any(name.startswith(f"{one}/".replace(".", "/")) for one in self._ours)

    def _is_anothers(self, topic: str, identity: Identity) -> bool:
        """Whether it belongs to an organization, not this one, and no filter says so."""
        found = None if self._organization is None else self._organization.match(topic)
        return (
            found is not None
            and found.group("organization_id") != identity.organization_id
            and not any(filter_.matches(topic) for filter_ in self._named)
        )


def _devices(base_topic: str, names: tuple[str, ...]) -> re.Pattern[str]:
    """What is in the tree of any device.

    Where a base topic has no text of its own, such as `{organization_id}/{device_id}`, any topic
    might be; so there it is what a device says something on, and what is below that.
    """
    texts = (base_topic, base_topic.replace(".", "/"))
    fixed = "".join(text for text, *_ in string.Formatter().parse(base_topic)).strip("/")
    if fixed:
        return re.compile(
            "|".join(_pattern(one, "(?:/|$)").pattern for one in dict.fromkeys(texts))
        )
    says = "|".join(re.escape(one) for one in names)
    return _pattern(f"{base_topic}/", f"(?:{says})(?:/|$)")


def _organizations(base_topic: str) -> re.Pattern[str] | None:
    """What is in the tree of any organization; None where such a tree cannot be told."""
    before, found, after = base_topic.partition("{organization_id}")
    if not found or not before.endswith("/") or not before.strip("/") or "{" in before:
        return None
    if after and not after.startswith("/"):
        return None
    return re.compile(f"{re.escape(before)}(?P<organization_id>[^/]*)(?:/|$)")


def _pattern(base_topic: str, then: str) -> re.Pattern[str]:
    """Topics that begin with a base topic of any IDs, and go on so."""
    parts = [
        re.escape(text) + ("" if name is None else "[^/]*")
        for text, name, *_ in string.Formatter().parse(base_topic)
    ]
    return re.compile("".join(parts) + then)
