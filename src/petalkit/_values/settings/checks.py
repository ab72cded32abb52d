"""Checks of settings: what cannot be used is refused by the name of its setting."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

import attrs

from ..error_codes import objection
from ..errors import ConfigError
from ..topics import TopicError, TopicFilter, check_segment, check_topic

Check = Callable[[Any, "attrs.Attribute[Any]", Any], None]

MQTT_TEXT_MAX = 65_535  # bytes

_IDS = ("organization_id", "device_id")


def at_least(bound: float, *, above: bool = False, at_most: float | None = None) -> Check:
    """A number that is at least, or above, a bound."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise ConfigError(attribute.name, f"must be a number, not {value!r}")
        if attribute.type in ("int", int) and not isinstance(value, int):
            raise ConfigError(attribute.name, f"must be a whole number, not {value!r}")
        if value < bound or (above and value == bound):
            raise ConfigError(
                attribute.name, f"must be {'above' if above else 'at least'} {bound}, not {value!r}"
            )
        if at_most is not None and value > at_most:
            raise ConfigError(attribute.name, f"must be at most {at_most}, not {value!r}")

    return check


def one_of(*choices: str) -> Check:
    """One of some words."""

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in choices:
            raise ConfigError(attribute.name, f"must be one of {', '.join(choices)}, not {value!r}")

    return check


def mqtt_text(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """What CONNECT can say: MQTT 5.0, section 1.5.4."""
    if value is None:
        return
    if not isinstance(value, str) or "\0" in value:
        raise ConfigError(attribute.name, "must be a text without a null character")
    mqtt_size(_, attribute, value)


def mqtt_size(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """The same of what may hold any bytes."""
    try:
        size = 0 if value is None else len(value.encode())
    except UnicodeEncodeError:
        raise ConfigError(attribute.name, "is not valid Unicode") from None
    if size > MQTT_TEXT_MAX:
        raise ConfigError(attribute.name, f"has {size} bytes; MQTT allows {MQTT_TEXT_MAX}")


def host_name(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A name or an IP address, as it stands in an address; None is none."""
    if value is None:
        return
    if (
        not isinstance(value, str)
        or not value
        or set(value) & set(" /@[]%")
        or not value.isprintable()
    ):
        raise ConfigError(attribute.name, f"must be a host name or an IP address, not {value!r}")


def as_text(value: Any) -> Any:
    """A whole number as the text that was meant."""
    return str(value) if type(value) is int else value


def segment(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """An ID that can stand in a topic; None is none."""
    if value is not None:
        try:
            check_segment(value, "the ID")
        except TopicError as error:
            raise ConfigError(attribute.name, str(error)) from None


def relative_topic(_: Any, attribute: attrs.Attribute[Any], topic: Any) -> None:
    """A topic under the base topic."""
    try:
        check_topic(topic)
    except (TopicError, TypeError) as error:
        raise ConfigError(attribute.name, str(error)) from None
    if topic.startswith("/") or topic.endswith("/"):
        raise ConfigError(attribute.name, f"{topic!r} starts or ends with '/'")


def texts(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A tuple of texts that say something."""
    # A string is a sequence of strings, so it has to be asked for by name.
    if not isinstance(value, tuple) or not all(isinstance(one, str) and one for one in value):
        raise ConfigError(attribute.name, f"must be a tuple of strings, not {value!r}")


def alpn_names(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Names of protocols, as RFC 7301, section 3.1 can carry them."""
    texts(_, attribute, value)
    for name in value:
        if not name.isascii() or len(name) > 255:
            text = f"{name[:40]!r} cannot be used: at most 255 ASCII characters each"
            raise ConfigError(attribute.name, text)


def host_names(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Names of hosts, without ports."""
    texts(_, attribute, value)
    for name in value:
        host_name(_, attribute, name)
        if ":" in name:
            raise ConfigError(attribute.name, f"{name!r} has to be a name without a port")


def relative_topics(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Topics under the base topic, at least one."""
    texts(_, attribute, value)
    if not value:
        raise ConfigError(attribute.name, "must name at least one topic")
    for topic in value:
        relative_topic(_, attribute, topic)


def topic_filters(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Topic filters, none of them shared."""
    texts(_, attribute, value)
    for text in value:
        try:
            shared = TopicFilter(text).share is not None
        except TopicError as error:
            raise ConfigError(attribute.name, str(error)) from None
        if shared:
            raise ConfigError(attribute.name, f"{text!r} is a shared subscription, not a filter")


def error_codes(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Other words for our error codes."""
    reason = objection(value)
    if reason is not None:
        raise ConfigError(attribute.name, reason)


def base_topic(_: Any, attribute: attrs.Attribute[Any], value: str) -> None:
    """A topic made of organization and device ID."""
    try:
        for _text, name, form, conversion in string.Formatter().parse(value):
            # No attributes and items of them, and no widths: that is no name of anybody's.
            if name is not None and (name not in _IDS or form or conversion):
                raise ValueError(f"{name!r} has to be one of them, and nothing more")
        check_topic(value.format(organization_id="o", device_id="d"))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            attribute.name,
            f"cannot be used as a topic of {{organization_id}} and {{device_id}}: {error}",
        ) from None


count = at_least(1)
seconds = at_least(0)
positive_seconds = at_least(0, above=True)
some_bytes = at_least(1)
