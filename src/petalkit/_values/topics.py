"""Topics, topic filters and the identity segments they are built from, checked at birth.

The rules are those of MQTT 5.0 section 4.7 (the same as 3.1.1 section 4.7). A value of these
types that exists is valid, so nothing downstream checks again.
"""

from __future__ import annotations

import functools

import attrs

MAX_TOPIC_BYTES = 65_535  # MQTT 5.0, section 4.7.3
MAX_SEGMENT_CHARACTERS = 128  # ours: leaves room for the rest of the topic on every broker


class TopicError(ValueError):
    """A topic, filter or segment breaks the rules; the text names the offending part."""


def _check_text(text: str, what: str) -> None:
    if not text:
        raise TopicError(f"{what} is empty")
    for character in text:
        if ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0:
            raise TopicError(f"{what} has the control character U+{ord(character):04X}")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise TopicError(f"{what} is not valid Unicode") from None
    if size > MAX_TOPIC_BYTES:
        raise TopicError(f"{what} is longer than {MAX_TOPIC_BYTES} bytes")


def check_topic(topic: str) -> str:
    """Return `topic` if a message can be published on it.

    Raises:
        TopicError: it is empty, too long, or has a wildcard or a control character.
    """
    _check_text(topic, f"topic {topic!r}")
    for wildcard in "+#":
        if wildcard in topic:
            raise TopicError(f"topic {topic!r} has the wildcard {wildcard!r}")
    return topic


def check_segment(value: str, what: str) -> str:
    """Return `value` if it can stand as one level of a topic, as an organization ID does.

    Args:
        value: the segment.
        what: its name for the error text, such as "organization ID".

    Raises:
        TopicError: it is empty, longer than 128 characters, starts or ends with a space, or has
            one of `+ # /` or a control character.
    """
    _check_text(value, what)
    if len(value) > MAX_SEGMENT_CHARACTERS:
        raise TopicError(f"{what} is longer than {MAX_SEGMENT_CHARACTERS} characters")
    for character in "+#/":
        if character in value:
            raise TopicError(f"{what} {value!r} has {character!r}, which would break the topic")
    if value != value.strip():
        raise TopicError(f"{what} {value!r} starts or ends with a space")
    return value


@attrs.frozen
class TopicFilter:
    """What a subscription asks for: levels with `+` and `#`, in a shared group or not.

    Args:
        text: as on the wire, such as `"a/+/c"`, `"a/#"` or `"$share/group/a/b"`.

    Raises:
        TopicError: a wildcard stands where it must not, or the share is malformed.
    """

    text: str
    share: str | None = attrs.field(init=False, default=None)
    levels: tuple[str, ...] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        _check_text(self.text, f"topic filter {self.text!r}")
        plain = self.text
        if plain.startswith("$share/"):
            _, group, *rest = plain.split("/", 2)
            if not group or "+" in group or "#" in group or not rest or not rest[0]:
                raise TopicError(f"topic filter {self.text!r} is not $share/<group>/<filter>")
            object.__setattr__(self, "share", group)
            plain = rest[0]
        levels = tuple(plain.split("/"))
        for number, level in enumerate(levels, 1):
            if "#" in level and (level != "#" or number != len(levels)):
                raise TopicError(
                    f"topic filter {self.text!r}: level {number}, {level!r}: "
                    "'#' stands alone and last"
                )
            if "+" in level and level != "+":
                raise TopicError(
                    f"topic filter {self.text!r}: level {number}, {level!r}: '+' stands alone"
                )
        object.__setattr__(self, "levels", levels)

    def __str__(self) -> str:
        return self.text

    def matches(self, topic: str) -> bool:
        """Whether a message on `topic` is wanted by this filter."""
        return _matches(self.levels, topic)


@functools.lru_cache(maxsize=4096)
def _matches(levels: tuple[str, ...], topic: str) -> bool:
    if topic.startswith("$") and levels[0] in ("+", "#"):
        return False  # MQTT 5.0, section 4.7.2: wildcards do not reach $SYS
    parts = topic.split("/")
    for index, level in enumerate(levels):
        if level == "#":
            return True
        if index >= len(parts) or (level != "+" and level != parts[index]):
            return False
    return len(parts) == len(levels)
