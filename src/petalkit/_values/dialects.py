"""The dialects: how responses, receipts and events are worded for those who read them.

`guide` is what the integration guide says; `host-0.2` is what the host application writes since its
0.2, and what its web clients read. One dialect is made per runtime. The rule of both: the envelope
is petalkit's, so that nothing a petal says can make a response another command's.

A new member of every response goes into `_head` and `envelope` of each dialect. The trap is
`_Guide.success`, which is the hot path and writes its envelope without `_head`.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

from .codec import NO_MESSAGE_ID, encode_json
from .error_codes import OWN_WORDS
from .errors import ErrorCode, PayloadError
from .messages import FAILED_STATUSES
from .settings.settings import DialectName

SERVICE_RECEIVED = "service-received"  # the host's own word in a receipt that `waitAck` asks for
SAME_ID = "same_id"  # sent again with the same messageId, it is judged anew
NEW_ID = "new_id"  # with the same messageId it gets the recorded answer again
_NOTHING: Mapping[str, Any] = {}


def outcome_of(fields: Mapping[str, Any]) -> str | None:
    """The error code of a response in a petal's own words; None when it tells of a success.

    `HANDLER_ERROR` stands for a failure that has no code of its own.
    """
    if _is_success(fields, None):
        return None
    code = fields.get("error_code")
    return code if isinstance(code, str) and code else str(ErrorCode.HANDLER_ERROR)


def _is_success(fields: Mapping[str, Any], error_code: str | None) -> bool:
    """What a petal's own words say, the plainest first; `error_code` is what is known beside."""
    if "success" in fields:
        return fields["success"] is True
    if "status" in fields:
        status = fields["status"]
        return not (isinstance(status, str) and status in FAILED_STATUSES)
    return error_code is None and fields.get("error") is None and fields.get("error_code") is None


def is_receipt(fields: Mapping[str, Any]) -> bool:
    """Whether this only tells that a command came (see `Dialect.ack`), and is no response."""
    # A petal's own result may hold a `phase` too.
    return fields.get("phase") == "ack" and "success" not in fields and "status" not in fields


class Dialect(abc.ABC):
    """One way of saying it; made by `make_dialect`.

    Attributes:
        honours_wait_ack: whether a command with `waitAck` is answered with a receipt.
        arguments: the name under which a caller sends a command's arguments.
        envelope: the fields of a response that say whose answer it is, and when.
        codes: what is said for our error codes, where that is another word.
    """

    honours_wait_ack: ClassVar[bool]
    arguments: ClassVar[str]
    envelope: ClassVar[frozenset[str]]

    # How each says the outcome.
    _outcome: ClassVar[str]
    _yes: ClassVar[object]
    _no: ClassVar[object]
    _text: ClassVar[str]
    _text_elsewhere: ClassVar[str]

    def __init__(self, device_id: str, codes: Mapping[str, str]) -> None:
        self.device_id, self.codes = device_id, codes
        # Said of a failure, or they would say something else of it.
        self._not_details = self.envelope | {
            *("success", "error", "error_code", "retryable", "retry"),
            *(self._outcome, self._text),
        }

    def overruled(self, details: Mapping[str, Any]) -> list[str]:
        """Those of the details of an error that are not sent, because petalkit writes them."""
        return [key for key in details if key in self._not_details]

    @abc.abstractmethod
    def _head(self, message_id: str | None, timestamp: str) -> dict[str, Any]:
        """The envelope of a response."""

    @abc.abstractmethod
    def success(self, message_id: str | None, timestamp: str, fields: Mapping[str, Any]) -> bytes:
        """The response to a command that did what it was asked.

        Raises:
            PayloadError: a field of the envelope would be overwritten, the fields say that it
                failed, or something in them cannot be encoded as JSON.
        """

    def failure(
        self,
        message_id: str | None,
        timestamp: str,
        code: str,
        message: str,
        *,
        retryable: bool | None = None,
        remembered: bool = False,
        details: Mapping[str, Any] = _NOTHING,
    ) -> bytes:
        """The response that says no. Fields of envelope and outcome in `details` are overruled.

        Args:
            message_id: of the command.
            timestamp: now, as on the wire.
            code: for programs.
            message: for people.
            retryable: whether the command can succeed when it is sent again; None: the code says.
            remembered: whether its messageId gets this response for ever, so that only another one
                runs it again.
            details: more fields.

        Raises:
            PayloadError: something in `details` cannot be encoded as JSON.
        """
        if retryable is None:
            retryable = isinstance(code, ErrorCode) and code.retryable
        response = self._head(message_id, timestamp)
        response[self._outcome] = self._no
        response[self._text] = message
        response["error_code"] = self.codes.get(code, str(code))
        response["retryable"] = retryable
        if retryable:
            response["retry"] = NEW_ID if remembered else SAME_ID
        for key, value in details.items():
            if key not in self._not_details:
                response[key] = value
        return encode_json(response)

    def own_words(
        self,
        message_id: str | None,
        timestamp: str,
        fields: Mapping[str, Any],
        error_code: str | None,
    ) -> bytes:
        """The response of a petal that words its own, as those of the guide and its host do.

        Its fields go out as they are, without those of the envelope. Only where the petal did not
        say the outcome in this dialect's word, that is added, and with it the text of a failure.

        Args:
            message_id: of the command.
            timestamp: now, as on the wire.
            fields: the petal's.
            error_code: that of the outcome, where it is known; None for a success, or when only
                `fields` can tell.

        Raises:
            PayloadError: something in `fields` cannot be encoded as JSON.
        """
        success = _is_success(fields, error_code)
        response = self._head(message_id, timestamp)
        response[self._outcome] = self._yes if success else self._no
        for key, value in fields.items():
            if key not in self.envelope:
                response[key] = value
        code = fields.get("error_code")
        if isinstance(code, ErrorCode):  # petalkit's word, and none of the petal's
            response["error_code"] = self.codes.get(code, str(code))
        if not success and self._outcome not in fields and self._text not in response:
            text = response.get(self._text_elsewhere)
            if text is not None:
                response[self._text] = text
        return encode_json(response)

    def ack(
        self,
        message_id: str | None,
        timestamp: str,
        service: str,
        ack_type: str = SERVICE_RECEIVED,
    ) -> bytes:
        """A receipt: the word that a command came, before its response. The same in every dialect.

        Raises:
            PayloadError: a text cannot be encoded as JSON.
        """
        return encode_json(
            {
                "messageId": NO_MESSAGE_ID if message_id is None else message_id,
                "phase": "ack",
                "ackType": ack_type,
                "service": service,
                "timestamp": timestamp,
                "deviceId": self.device_id,
            }
        )

    @abc.abstractmethod
    def event(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """An event or a debug message, as it is sent."""


class _Guide(Dialect):
    """The integration guide's."""

    honours_wait_ack = False
    arguments = "data"

    envelope = frozenset({"messageId", "timestamp"})
    _outcome, _yes, _no = "success", True, False
    _text, _text_elsewhere = "error", "message"

    def _head(self, message_id: str | None, timestamp: str) -> dict[str, Any]:
        return {
            "messageId": NO_MESSAGE_ID if message_id is None else message_id,
            "timestamp": timestamp,
        }

    def success(self, message_id: str | None, timestamp: str, fields: Mapping[str, Any]) -> bytes:
        # For every command, so without a detour.
        if "messageId" in fields or "timestamp" in fields:
            raise _overwritten("messageId" if "messageId" in fields else "timestamp")
        if fields.get("success", True) is not True:
            raise _says_no('"success": false')
        if message_id is None:
            message_id = NO_MESSAGE_ID
        return encode_json(
            {"messageId": message_id, "timestamp": timestamp, "success": True, **fields}
        )

    def event(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        return payload


class _Host(Dialect):
    """That of the guide's host application, since its 0.2."""

    honours_wait_ack = True
    arguments = "payload"

    envelope = frozenset({"messageId", "timestamp", "phase", "deviceId"})
    _outcome, _yes, _no = "status", "success", "error"
    _text, _text_elsewhere = "message", "error"

    def _head(self, message_id: str | None, timestamp: str) -> dict[str, Any]:
        return {
            "messageId": NO_MESSAGE_ID if message_id is None else message_id,
            "phase": "result",
            "timestamp": timestamp,
            "deviceId": self.device_id,
        }

    def success(self, message_id: str | None, timestamp: str, fields: Mapping[str, Any]) -> bytes:
        for name in self.envelope:
            if name in fields:
                raise _overwritten(name)
        if fields.get("success", True) is not True:
            raise _says_no('"success": false')
        # It may be a petal's own word for something else, such as "armed": only this one says no.
        if fields.get("status") == "error":
            raise _says_no('"status": "error"')
        return encode_json({**self._head(message_id, timestamp), "status": "success", **fields})

    def event(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**payload, "deviceId": self.device_id}  # overwritten, as the host does


def _overwritten(name: str) -> PayloadError:
    return PayloadError(
        ErrorCode.HANDLER_ERROR,
        f"a result must not hold {name!r}: petalkit writes it; rename the field",
    )


def _says_no(what: str) -> PayloadError:
    return PayloadError(
        ErrorCode.HANDLER_ERROR,
        f'a result must not hold {what}: raise CommandError("CODE", "message")',
    )


_DIALECTS: dict[DialectName, type[Dialect]] = {"guide": _Guide, "host-0.2": _Host}


def make_dialect(
    name: DialectName | None, device_id: str, codes: Mapping[str, str] = OWN_WORDS
) -> Dialect:
    """The dialect of that name.

    Args:
        name: as in `Settings.dialect`; None for the guide's.
        device_id: what `deviceId` says.
        codes: as in `Settings.error_codes`.
    """
    return _DIALECTS[name or "guide"](device_id, codes)
