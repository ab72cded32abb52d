"""The exception tree, and the error codes of the wire.

Fields first: every exception keeps its parts as attributes and builds its text from them. Trio's
own `Cancelled`, `ClosedResourceError` and `TooSlowError` keep their meaning and are not wrapped.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from typing import Any

SESSION_TAKEN_OVER = 0x8E  # MQTT 5.0, section 3.14.2.1
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+(?=>)")


def without_addresses(text: str) -> str:
    """`text` without the places in memory that a `repr` names: `<function f>`, without `at 0x...`.

    They tell a reader nothing, and are others in each run.
    """
    return _ADDRESS.sub("", text)


class ErrorCode(enum.StrEnum):
    """The codes that petalkit itself puts into `error_code`. A petal may answer with its own."""

    INVALID_JSON = "INVALID_JSON"
    INVALID_COMMAND = "INVALID_COMMAND"
    INVALID_DATA = "INVALID_DATA"
    UNKNOWN_COMMAND = "UNKNOWN_COMMAND"
    HANDLER_ERROR = "HANDLER_ERROR"
    TIMEOUT = "TIMEOUT"
    CANCELLED = "CANCELLED"
    BUSY = "BUSY"
    DROPPED = "DROPPED"
    EXPIRED = "EXPIRED"
    RETAINED = "RETAINED"
    TOO_LARGE = "TOO_LARGE"
    UNAUTHORIZED = "UNAUTHORIZED"
    UNAVAILABLE = "UNAVAILABLE"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    INTERRUPTED = "INTERRUPTED"
    MESSAGE_ID_REUSED = "MESSAGE_ID_REUSED"
    NO_RESPONSE = "NO_RESPONSE"
    UNKNOWN_JOB = "UNKNOWN_JOB"
    UNKNOWN_MESSAGE_ID = "UNKNOWN_MESSAGE_ID"

    @property
    def retryable(self) -> bool:
        """Whether the command can succeed when it is sent again; `retry` beside it says how."""
        return self in _RETRYABLE


_RETRYABLE = frozenset(
    {
        ErrorCode.BUSY,
        ErrorCode.DROPPED,
        ErrorCode.SHUTTING_DOWN,
        ErrorCode.UNAVAILABLE,
        ErrorCode.TIMEOUT,
        ErrorCode.CANCELLED,
        ErrorCode.INTERRUPTED,
    }
)


class PetalkitError(Exception):
    """The base of every exception that petalkit raises of its own."""


class ConfigError(PetalkitError, ValueError):
    """A setting cannot be used: it is yours to correct before anything starts.

    Args:
        setting: the name of the setting, as in `Settings`.
        reason: what is wrong with it, and what it may be.
    """

    def __init__(self, setting: str, reason: str) -> None:
        reason = without_addresses(reason)
        super().__init__(setting, reason)
        self.setting = setting
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.setting}: {self.reason}"


class TransportError(PetalkitError):
    """Something between this process and the broker went wrong."""


class ConnectFailed(TransportError):
    """No link could be made: address, network, TLS, or no answer in time. Worth another try."""


class ConnectionLost(TransportError):
    """A link that was up is gone.

    Not raised for a link that you left yourself.

    Args:
        reason: the cause as far as it is known.
        taken_over: True when the broker said that another client took the session (MQTT 5,
            reason code 0x8E). MQTT 3.1.1 brokers close the connection without a word.
        reason_code: of the DISCONNECT with which the broker ended it (MQTT 5.0, section
            3.14.2.1); None when there was none.
        closed: the broker's side closed or reset the connection without a DISCONNECT. False where
            this side gave up, or the network was gone.
    """

    def __init__(
        self,
        reason: str = "",
        *,
        taken_over: bool = False,
        reason_code: int | None = None,
        closed: bool = False,
    ) -> None:
        super().__init__(reason or "the connection to the broker was lost")
        self.taken_over = taken_over or reason_code == SESSION_TAKEN_OVER
        self.reason_code = reason_code
        self.closed = closed


class RejectedByBroker(TransportError):
    """The broker said no: to CONNECT, SUBSCRIBE or PUBLISH.

    Args:
        reason_code: the MQTT reason code (for 3.1.1 the return code of CONNACK or SUBACK).
        reason: its name, or the broker's own text.
    """

    def __init__(self, reason_code: int, reason: str) -> None:
        super().__init__(reason_code, reason)
        self.reason_code = reason_code
        self.reason = reason

    def __str__(self) -> str:
        return f"the broker answered {self.reason} (reason code {self.reason_code:#04x})"


class PayloadError(PetalkitError):
    """Bytes or data from outside do not have the form they should have.

    Args:
        code: the code with which the sender is answered.
        message: a text for the sender; it never repeats the sender's values.
        errors: one `{"path", "message"}` per field, for `INVALID_DATA`.
        log: the same as `message` for the device's log, without the texts of a petal's own checks,
            which may repeat what was sent; None when it is safe as it is.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        errors: Sequence[Mapping[str, str]] = (),
        *,
        log: str | None = None,
    ) -> None:
        super().__init__(code, message, errors)
        self.code = code
        self.message = message
        self.errors = tuple(errors)
        self.log = message if log is None else log

    def __str__(self) -> str:
        return self.message


class RegistrationError(PetalkitError):
    """A petal or a command cannot be registered: the petal's author has to fix it.

    Args:
        reason: what is wrong, and what to write instead.
        petal: name of the petal.
        method: qualified name of the handler, where there is one.
        parameter: name of the parameter, where it is about one.
    """

    def __init__(
        self,
        reason: str,
        *,
        petal: str,
        method: str | None = None,
        parameter: str | None = None,
    ) -> None:
        reason = without_addresses(reason)
        super().__init__(reason)
        self.reason = reason
        self.petal = petal
        self.method = method
        self.parameter = parameter

    def __str__(self) -> str:
        where = f"petal {self.petal!r}"
        if self.method is not None:
            where += f", {self.method}()"
        if self.parameter is not None:
            where += f", parameter {self.parameter!r}"
        return f"{where}: {self.reason}"


class CommandError(PetalkitError):
    """Raised by a handler to answer "no".

    The code and the message reach the caller as `error_code` and `error`; no traceback is logged.

    A subclass may have `code`, `message`, `retryable` and `details` as class attributes, as fields
    of a dataclass or of attrs, or hand them to `super().__init__`. Where its class has a `code`, a
    single argument is the message. When neither is there at the time of the answer, that is
    `HANDLER_ERROR`.

    Args:
        code: the petal's own code, for programs; UPPER_CASE by custom. Of a member of an
            enumeration its value.
        message: for people; anything else than a string, such as an exception, is made one.
        retryable: whether the command can succeed when it is sent again. Since its handler was
            called, that takes a new `messageId`, and the response says so (`retry`).
        details: more fields of the response. The envelope's own fields and `retry` cannot be set
            here.

    Raises:
        TypeError: code or message are neither given nor attributes of the class.
    """

    code: str
    message: str
    retryable: bool = False
    details: Mapping[str, Any] = {}

    def __init__(
        self,
        code: object = None,
        message: object = None,
        *,
        retryable: bool | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        cls = type(self)
        if message is None and code is not None and getattr(cls, "code", None) is not None:
            code, message = None, code
        code = getattr(cls, "code", None) if code is None else code
        message = getattr(cls, "message", None) if message is None else message
        if code is None or message is None:
            missing = "code" if code is None else "message"
            raise TypeError(
                f'{cls.__name__} has no {missing}: write {cls.__name__}("CODE", "message")'
            )
        super().__init__(code, message)
        self.code = code_text(code)
        self.message = str(message)
        if retryable is not None:
            self.retryable = bool(retryable)
        if details is not None:
            self.details = dict(details)

    def __str__(self) -> str:
        code, message = getattr(self, "code", None), getattr(self, "message", None)
        return super().__str__() if code is None else f"{code}: {message}"


def code_text(code: object) -> str:
    """An error code as it goes on the wire: of a member of an enumeration its value."""
    return str(code.value if isinstance(code, enum.Enum) else code)
