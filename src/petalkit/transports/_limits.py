"""What brokers limit: by their CONNACK, and without a word.

The rule: what a broker has said is kept before it is broken, for it ends the link that breaks it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from .._values.messages import Message
from .._values.topics import TopicFilter

FILTERS_PER_PACKET = 8  # AWS IoT Core takes no more in one SUBSCRIBE
# What MQTT 5.0, section 3.2.2.3 takes for said where a CONNACK is silent.
_UNSAID = {"receive_maximum": 65_535, "maximum_qos": 2, "retain_available": 1}


def real_limits(said: Mapping[str, int | None]) -> Mapping[str, int]:
    """Of what a CONNACK said, or did not say, what limits anything; see `Link.broker_limits`."""
    return {
        name: value
        for name, value in said.items()
        if value is not None and value != _UNSAID.get(name)
    }


def fitted(message: Message, limits: Mapping[str, int]) -> Message:
    """A message as a broker of these limits takes it (MQTT 5.0, sections 3.2.2.3.4 and 3.2.2.3.5).

    With QoS 0 where it takes no other, and without retain where it retains nothing: a broker ends
    the link that sends it more.
    """
    qos = min(message.qos, limits.get("maximum_qos", message.qos))
    retain = message.retain and limits.get("retain_available", 1) != 0
    if (qos, retain) == (message.qos, message.retain):
        return message
    return msgspec.structs.replace(message, qos=qos, retain=retain)


def filter_batches(filters: Sequence[TopicFilter]) -> list[list[str]]:
    """The texts of filters, as many together as every broker takes in one packet."""
    texts = [each.text for each in filters]
    return [texts[i : i + FILTERS_PER_PACKET] for i in range(0, len(texts), FILTERS_PER_PACKET)]
