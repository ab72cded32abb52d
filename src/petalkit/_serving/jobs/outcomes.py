"""What a job's method returned or raised, as fields rather than as a response.

`call_handler` is the boundary where failures become answers, for jobs as for commands. A job's
answer is not sent: it is kept, and asked for, perhaps in another dialect's envelope.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..._values.codec import encode_json
from ..._values.errors import ErrorCode, PayloadError
from ..sending.responses import Responses

_NOTHING: Mapping[str, Any] = {}


class Outcome:
    """Stands where `Responses` stands for a command, for one job.

    Args:
        responses: words what is said elsewhere, and has the bound.

    Attributes:
        fields: of the result, or of the failure; JSON can say them.
        code: None for a success.
        error: for people.
    """

    def __init__(self, responses: Responses, payload_max: int) -> None:
        self.dialect = responses.dialect
        self._payload_max = payload_max
        self.fields: Mapping[str, Any] = _NOTHING
        self.code: str | None = None
        self.error: str | None = None

    def success(self, _: str | None, fields: Mapping[str, Any]) -> bytes:
        """Keep a result.

        Raises:
            PayloadError: JSON cannot say it, or it is over `payload_max`.
        """
        size = len(encode_json(fields))
        if size > self._payload_max:
            text = f"the result has {size} bytes; {self._payload_max} are allowed"
            raise PayloadError(ErrorCode.TOO_LARGE, text)
        self.fields = fields
        return b""

    def own_words(
        self, message_id: str | None, fields: Mapping[str, Any], code: str | None
    ) -> bytes:
        """Keep the result of a petal that words its own."""
        self.success(message_id, fields)
        self.code = code
        return b""

    def failure(
        self,
        _: str | None,
        code: str,
        message: str,
        *,
        retryable: bool | None = None,
        remembered: bool = False,
        details: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Keep a failure; details that cannot be sent are left out."""
        del retryable, remembered
        self.code, self.error = str(code), message
        self.fields = _NOTHING
        if details:
            try:
                size = len(encode_json(details))
            except Exception:  # of a petal's own making
                size = self._payload_max + 1
            if size <= self._payload_max:
                self.fields = dict(details)
        return b""
