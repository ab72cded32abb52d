"""What travels: messages of MQTT, and the commands and responses inside them, as frozen values.

A `Response` is what a caller reads; how a device words it is in `dialects`. Who a device is stands
here too (`Identity`), because every topic is made of it.

What is made once per command is a `msgspec.Struct`: that takes a ninth of the time that a frozen
attrs class takes. `msgspec.structs.replace` makes a changed copy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

import attrs
import msgspec

from .error_codes import OWN_WORDS
from .topics import check_segment, check_topic

# Words in `status` that tell of no success; "error" is the host's own, the others its petals'.
FAILED_STATUSES = frozenset({"error", "failed", "failure", "timeout", "cancelled"})
MAX_EXPIRY = 0xFFFF_FFFF  # MQTT 5.0, section 3.3.2.3.3: four bytes of seconds
_LONGEST = 65_535  # MQTT 5.0, sections 1.5.4 and 1.5.6: two bytes of length
DEFAULT_BASE_TOPIC = "org/{organization_id}/device/{device_id}"


UserProperties: TypeAlias = Iterable[tuple[str, str]] | Mapping[str, str]
_SHORT = _LONGEST // 4  # characters that are so many bytes at most
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_PROPERTY_TYPES = {
    "response_topic": str,
    "correlation_data": bytes,
    "message_expiry": int,
    "content_type": str,
}


def _pairs(pairs: UserProperties) -> tuple[tuple[str, str], ...]:
    """User properties as they are kept, from what people write."""
    found: list[tuple[str, str]] = []
    items: Iterable[Any] = pairs.items() if isinstance(pairs, Mapping) else pairs
    for one in items:
        match one:
            case (str(name), str(value)):
                found.append((name, value))
            case _:
                raise ValueError(f"user_properties must be pairs of texts, not {pairs!r}")
    return tuple(found)


@attrs.frozen(kw_only=True)
class Properties:
    """What a PUBLISH of MQTT 5 says beside topic and payload (MQTT 5.0, section 3.3.2.3).

    Args:
        response_topic: where the sender wants to be answered.
        correlation_data: what it wants to find in the answer.
        message_expiry: seconds after which nobody wants the message any more. As received: what
            is left of them, since the broker takes off what the message has waited there.
        content_type: of the payload; a MIME type by custom.
        user_properties: pairs of the sender's own, in order; a name may come twice. A mapping
            will do.

    Raises:
        ValueError: it has no form on the wire: something is of another type, a text or the
            correlation data is over 65 535 bytes, a text is not valid Unicode, or the expiry is
            not within 32 bits.
    """

    response_topic: str | None = None
    correlation_data: bytes | None = attrs.field(default=None, repr=False)
    message_expiry: int | None = None
    content_type: str | None = None
    user_properties: tuple[tuple[str, str], ...] = attrs.field(
        default=(), repr=False, converter=_pairs
    )

    def __attrs_post_init__(self) -> None:
        topic, data, content = self.response_topic, self.correlation_data, self.content_type
        if (
            not self.user_properties
            and (topic is None or (type(topic) is str and len(topic) <= _SHORT))
            and (content is None or (type(content) is str and len(content) <= _SHORT))
            and (data is None or (type(data) is bytes and len(data) <= _LONGEST))
            and (self.message_expiry is None or type(self.message_expiry) is int)
            and 0 <= (self.message_expiry or 0) <= MAX_EXPIRY
            and (topic or "").isascii()
            and (content or "").isascii()
        ):
            return  # as most are: this is made for every message
        self._check()

    def _check(self) -> None:
        for name, kind in _PROPERTY_TYPES.items():
            value = getattr(self, name)
            if value is not None and type(value) is not kind:
                raise ValueError(f"{name} must be {kind.__name__}, not {value!r}")
        if any(len(text.encode()) > _LONGEST for text in self._texts()):
            raise ValueError(f"a text of the properties is over {_LONGEST} bytes")
        if len(self.correlation_data or b"") > _LONGEST:
            raise ValueError(f"the correlation data is over {_LONGEST} bytes")
        if not 0 <= (self.message_expiry or 0) <= MAX_EXPIRY:
            raise ValueError(f"the message expiry {self.message_expiry} is not in 0..{MAX_EXPIRY}")

    def _texts(self) -> Iterator[str]:
        yield self.response_topic or ""
        yield self.content_type or ""
        for pair in self.user_properties:
            yield from pair

    def check_sendable(self) -> None:
        """Refuse what a broker may end the connection for (MQTT 5.0, section 1.5.4).

        What was received is not checked so: other brokers take more.

        Raises:
            ValueError: a text holds a control character, as a line break is one; or the Response
                Topic is empty.
        """
        if self.response_topic == "":
            raise ValueError("the Response Topic is empty")
        if any(_CONTROL.search(text) for text in self._texts()):
            raise ValueError("a text of the properties holds a control character")

    @property
    def size(self) -> int:
        """Bytes of its texts and its correlation data: what a sender can make long."""
        return sum(len(text.encode()) for text in self._texts()) + len(self.correlation_data or b"")


NO_PROPERTIES = Properties()


def _as_shown(value: Message | Command) -> str:
    # Rich asks for `__rich_repr__` instead, and msgspec's own would show it everything.
    fields = ", ".join(f"{name}={field!r}" for name, field in value.__rich_repr__())
    return f"{type(value).__name__}({fields})"


class Message(msgspec.Struct, frozen=True):
    """One application message of MQTT, to be published or as it was published.

    Args:
        topic: without wildcards.
        payload: the bytes, as they are.
        qos: 0 or 1. QoS 2 is not used: AWS IoT Core does not have it.
        retain: whether the broker keeps it for later subscribers.
        properties: of MQTT 5; None for none. A link of MQTT 3.1.1 leaves them out.
    """

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    properties: Properties | None = None

    def __repr__(self) -> str:
        return _as_shown(self)

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """What is shown of it: not the payload, which is nobody's to log."""
        names = ("topic", "qos", "retain", "properties")
        return [(name, getattr(self, name)) for name in names]


@attrs.frozen
class Identity:
    """Who this device is: organization ID and device ID, and the base topic they make.

    Raises:
        TopicError: an ID cannot stand in a topic.
    """

    organization_id: str
    device_id: str
    base_topic: str = attrs.field(default=DEFAULT_BASE_TOPIC, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_segment(self.organization_id, "organization ID")
        check_segment(self.device_id, "device ID")
        topic = self.base_topic.format(
            organization_id=self.organization_id, device_id=self.device_id
        )
        object.__setattr__(self, "base_topic", check_topic(topic))

    def topic(self, name: str) -> str:
        """The full topic for a name under the base topic, such as `"command/web"`."""
        return f"{self.base_topic}/{name}"


class Command(msgspec.Struct, frozen=True):
    """One request, as it came.

    Attributes:
        command: the full name, such as `"example-petal/hello"`.
        message_id: the caller's ID; None when it sent none.
        wait_response: whether the caller wants to be answered.
        data: the arguments (`data`, or `payload` as many web clients write it).
        timestamp: the caller's own time stamp, unchecked; None when it sent none.
        topic: where the command came in.
        extra: every other field of the envelope, unchecked.
        properties: what MQTT 5 said beside topic and payload; with 3.1.1 none of them is set.
    """

    command: str
    message_id: str | None = None
    wait_response: bool = False
    data: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])
    timestamp: str | None = None
    topic: str = ""
    extra: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])
    properties: Properties = NO_PROPERTIES

    def __repr__(self) -> str:
        return _as_shown(self)

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """What is shown of it: not what its sender may not want in a log."""
        names = ("command", "message_id", "wait_response", "timestamp", "topic")
        return [(name, getattr(self, name)) for name in names]


@attrs.frozen
class Response(Mapping[str, Any]):
    """The final answer to a command, as its caller sees it.

    A mapping of all its fields: `response["message"]`. Truth is not success: ask `.success`.

    Args:
        fields: as they came.
        codes: what other words for error codes mean.
    """

    fields: Mapping[str, Any]
    codes: Mapping[str, str] = attrs.field(default=OWN_WORDS, repr=False, eq=False)

    @property
    def success(self) -> bool:
        """Whether the command did what it was asked, in whichever dialect that is said."""
        fields = self.fields
        if "success" in fields:
            return fields["success"] is True
        status = fields.get("status")  # a petal's own word may stand there
        return isinstance(status, str) and status not in FAILED_STATUSES

    @property
    def message_id(self) -> str | None:
        """The `messageId` of the command that this answers."""
        return self.fields.get("messageId")

    @property
    def timestamp(self) -> str | None:
        """When the device answered: RFC 3339, in UTC."""
        return self.fields.get("timestamp")

    @property
    def error(self) -> str | None:
        """The text for people, when it did not succeed."""
        text: str | None = self.fields.get("error")
        if text is None and not self.success:
            text = self.fields.get("message")
        return text

    @property
    def error_code(self) -> str | None:
        """The code for programs, when it did not succeed.

        That of petalkit where the device says another word for it, and the caller's `error_codes`
        have that; `response["error_code"]` is as it came.
        """
        code: Any = self.fields.get("error_code")
        return self.codes.get(code, code) if isinstance(code, str) else code

    @property
    def retryable(self) -> bool:
        """Whether the command can succeed when it is sent again: see `retry` for how."""
        return self.fields.get("retryable") is True

    @property
    def retry(self) -> Literal["same_id", "new_id"] | None:
        """How to send a command again that can succeed then.

        `"same_id"`: with the same `messageId`, which is safe: the command was not started, and its
        answer is not recorded. `"new_id"`: with another one, since the same gets the same answer
        again; it was started, and may have done part of its work. None when it is not `retryable`,
        and from devices that do not say it.
        """
        said = self.fields.get("retry")
        return said if self.retryable and said in ("same_id", "new_id") else None

    def __getitem__(self, key: str) -> Any:
        return self.fields[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)
