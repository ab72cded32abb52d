"""A response for people and for programs, and what to do next where it says "no".

The rule: what goes to stdout is one JSON document, whatever was answered: for people without the
envelope, with `--json` the whole of it in one line.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ..._authoring.unknown_keys import IGNORED_FIELD
from ..._serving.process.log_lines import escape
from ..._values.codec import Timestamps
from ..._values.errors import ErrorCode
from ..._values.messages import Response
from .._errors import report
from .._options import as_arguments
from .._output.printing import print_json

ENVELOPE = frozenset({"messageId", "timestamp", "success"})
HOST_ENVELOPE = frozenset({"phase", "deviceId"})
_TEXT_MAX = 200  # characters of a name of the device's own in what to do next


def show_response(response: Response, *, as_json: bool = False) -> None:
    """Print a response: the whole as one line of JSON, or what matters, for people."""
    if as_json:
        print_json(dict(response.fields))
        return
    if not response.success:
        report(answered(response))
    hidden = _not_shown(response)
    rest = {key: value for key, value in response.fields.items() if key not in hidden}
    if not response.success:
        rest = {**_error_fields(response), **rest}
    print(readable_json(rest or {"success": True}), flush=True)  # noqa: T201


def answered(response: Response) -> str:
    """One line about a "no"."""
    code = response.error_code or "ERROR"
    return f"the device answered {code}: {response.error or 'without a text'}"


def _error_fields(response: Response) -> dict[str, Any]:
    code = response.error_code or "ERROR"
    return {"error_code": code, "error": response.error or ""}


def _not_shown(response: Response) -> set[str]:
    """The fields that say nothing more: the envelope, and what has a line of its own."""
    hidden = set(ENVELOPE)
    if ignored_keys(response):
        hidden.add(IGNORED_FIELD)
    if response.get("phase") == "result" and "deviceId" in response:  # the dialect host-0.2
        hidden |= HOST_ENVELOPE
        if response.get("status") in ("success", "error"):
            hidden.add("status")
    if not response.success:
        hidden |= {"error_code", "message" if response.get("error") is None else "error"}
    return hidden


def readable_json(value: Any) -> str:
    """JSON over several lines; what a device says cannot steer the terminal."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return "\n".join(escape(line) for line in text.split("\n"))


class _Ignored(msgspec.Struct, forbid_unknown_fields=True):
    path: str
    message: str


def ignored_keys(response: Response) -> list[tuple[str, str]]:
    """Path and text of each; none where another device, or a result, says something else there."""
    try:
        found = msgspec.convert(response.get(IGNORED_FIELD), list[_Ignored])
    except msgspec.ValidationError:
        return []
    return [(one.path, one.message) for one in found]


def name_ignored(response: Response) -> None:
    """Name the keys of DATA-JSON that the device had no use for: most likely misspelt."""
    for path, text in ignored_keys(response):
        report(f"the device ignored {path}, which {text}", kind="warning")


def next_steps(response: Response, command: str, line: Callable[..., str]) -> Iterator[str]:
    """What to do where a device said no, a line each.

    Args:
        response: it.
        command: to what.
        line: makes a command line about the same device, as `Ask.line` does.
    """
    match response.error_code:
        case ErrorCode.UNKNOWN_COMMAND:
            meant = response.get("did_you_mean")
            if isinstance(meant, str):
                yield f"did you mean {shlex.quote(meant[:_TEXT_MAX])}?"
            yield f"`{line('info')}` shows what the device serves"
        case ErrorCode.INVALID_DATA:
            yield f"`{line('info', command)}` shows what the command takes"
        case ErrorCode.UNKNOWN_JOB | ErrorCode.UNKNOWN_MESSAGE_ID:
            yield f"`{line('jobs')}` shows the jobs that have not ended"
        case ErrorCode.HANDLER_ERROR:
            error_id = response.get("error_id")
            where = f", under {error_id[:_TEXT_MAX]}" if isinstance(error_id, str) else ""
            yield f"the log of the device has the traceback{where}"
        case ErrorCode.UNAVAILABLE:
            yield "the log of the device says why the petal is not there"
        case _:
            pass
    if response.retry == "same_id":
        own = response.message_id
        same = "" if own is None else f": {same_id(own)}"
        yield f"it was not started; to send it again, use the same --message-id again{same}"
    elif response.retry == "new_id":
        yield "it was started, and may have done part of its work; to repeat it, make a new call"


def expired_step(response: Response, timeout: float) -> str:
    """It came in time, or no answer would have: so clocks are apart, or it stood in a line."""
    return (
        f"it was to be started within {timeout:g} s (--timeout), by the device's clock, which says "
        f"{response.timestamp or 'nothing'}; this one says {Timestamps()()}. If they differ, set "
        "them; --expires-in inf lets the command be started however late"
    )


def same_id(message_id: str) -> str:
    """The option, for a shell; an ID may be any text."""
    return shlex.join(as_arguments({"message_id": message_id}))
