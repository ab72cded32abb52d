"""`petalkit call`: send one command and show the response."""

from __future__ import annotations

import functools
import json
import math
import shlex
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Annotated, Any

import msgspec
import trio
from cyclopts import Parameter

from .._authoring.unknown_keys import IGNORED_FIELD
from .._serving.process.log_lines import escape
from .._values.codec import Timestamps
from .._values.errors import ErrorCode, PayloadError, TransportError
from .._values.messages import MAX_EXPIRY, Response
from .._values.settings.settings import Settings
from ..client import DEFAULT_CALL_TIMEOUT, CallTimeout, open_client
from ._errors import EXIT_ERROR, EXIT_OK, EXIT_USAGE, UsageError, report
from ._options import GENERAL, CallSettings, GeneralOptions, advice, as_arguments

_ENVELOPE = frozenset({"messageId", "timestamp", "success"})
_HOST_ENVELOPE = frozenset({"phase", "deviceId"})


def call(  # noqa: D417 - what is left out has its words in its class
    command: Annotated[str, Parameter(name="COMMAND")],
    data: Annotated[str, Parameter(name="DATA-JSON")] = "{}",
    /,
    *,
    timeout: Annotated[float, Parameter(group=GENERAL)] = DEFAULT_CALL_TIMEOUT,
    expires_in: Annotated[float | None, Parameter(group=GENERAL)] = None,
    message_id: Annotated[str | None, Parameter(group=GENERAL)] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=(), group=GENERAL)] = False,
    general: GeneralOptions | None = None,
    settings: Annotated[CallSettings | None, Parameter(name="*")] = None,
) -> int:
    """Send one command to a device and show its response.

    The device is the one of --organization-id and --device-id. The client ID is one of its own,
    so the device's session stays with the device.

    Exit codes: 0 success, 1 the device answered with an error, 2 no answer, no connection, or a
    usage error.

    Args:
        command: The full name, such as example-petal/hello.
        data: The arguments, as a JSON object; @FILE reads them from a file, @- from standard input.
        timeout: How long to wait for the response. [s]
        expires_in: After so long the device is not to start the command any more, judged by its
            clock; inf for never. Without it, as long as --timeout. [s]
        message_id: The messageId; without it a new one. The same again asks for the same answer
            again, from the device's record.
        as_json: Print the whole response as one line of JSON.
    """
    if not command:
        raise UsageError("call: which command? Write petalkit call example-petal/hello")
    general = general or GeneralOptions()
    loaded = general.load(settings or CallSettings())
    general.configure_logging("warning")
    if not 0 < timeout < math.inf:
        raise UsageError(f"--timeout must be seconds above 0, not {timeout}")
    if expires_in is not None and not (0 < expires_in <= MAX_EXPIRY or expires_in == math.inf):
        raise UsageError(f"--expires-in must be seconds above 0, or inf, not {expires_in}")
    arguments = read_data(data, loaded.settings.payload_max)
    calling = functools.partial(
        _call,
        loaded.settings,
        advice(general, settings or CallSettings()),
        command,
        arguments,
        timeout=timeout,
        expires_in=expires_in,
        message_id=message_id,
    )
    response = trio.run(calling)
    if response is None:
        return EXIT_USAGE
    show_response(response, as_json=as_json)
    _name_ignored(response)
    _explain_retry(response)
    if response.error_code == ErrorCode.EXPIRED and expires_in is None:
        _explain_expired(response, timeout)
    return EXIT_OK if response.success else EXIT_ERROR


async def _call(
    settings: Settings,
    hint: str,
    command: str,
    data: Mapping[str, Any],
    **how: Any,
) -> Response | None:
    """The response; None when there is none, which has been reported then."""
    try:
        async with open_client(settings) as client:
            try:
                return await client.request(command, data, **how)
            except CallTimeout as error:
                text = f"{error}. Is the device there, and is it {client.identity.base_topic!r}?"
                report(text, details=escape(hint))
                if error.sent:
                    report(
                        f"For the answer that it may still give: the same call, "
                        f"with {_same_id(error.message_id)}"
                    )
    except TransportError as error:
        report(f"{_broker(settings)}: {error}", details=escape(hint))
    except PayloadError as error:
        report(error.message)
    return None


def _name_ignored(response: Response) -> None:
    """The keys of DATA-JSON that the device had no use for: most likely misspelt."""
    for path, text in ignored_keys(response):
        report(f"the device ignored {path}, which {text}", kind="warning")


def ignored_keys(response: Response) -> list[tuple[str, str]]:
    """Path and text of each; none where another device, or a result, says something else there."""
    try:
        found = msgspec.convert(response.get(IGNORED_FIELD), list[_Ignored])
    except msgspec.ValidationError:
        return []
    return [(one.path, one.message) for one in found]


class _Ignored(msgspec.Struct, forbid_unknown_fields=True):
    path: str
    message: str


def _same_id(message_id: str) -> str:
    """The option, for a shell; an ID may be any text."""
    return shlex.join(as_arguments({"message_id": message_id}))


def _explain_retry(response: Response) -> None:
    """What to do where another try can succeed."""
    if response.retry == "same_id":
        own = response.message_id
        same = "" if own is None else f": {_same_id(own)}"
        report(f"it was not started; to send it again, use the same --message-id again{same}")
    elif response.retry == "new_id":
        report("it was started, and may have done part of its work; to repeat it, make a new call")


def _explain_expired(response: Response, timeout: float) -> None:
    """It came in time, or no answer would have: so clocks are apart, or it stood in a line."""
    report(
        f"It was to be started within {timeout:g} s (--timeout), by the device's clock, which says "
        f"{response.timestamp or 'nothing'}; this one says {Timestamps()()}. If they differ, set "
        "them; --expires-in inf lets the command be started however late"
    )


def _broker(settings: Settings) -> str:
    url = settings.broker_url()
    return f"{url.scheme}://{url.netloc or url.path}"


def read_data(text: str, limit: int) -> Mapping[str, Any]:
    """DATA-JSON as a mapping.

    Raises:
        UsageError: it is no JSON object.
    """
    where = "DATA-JSON"
    raw = text.encode(errors="surrogateescape")
    if text.startswith("@"):
        where = "standard input" if text == "@-" else text[1:]
        try:
            with nullcontext(sys.stdin.buffer) if text == "@-" else open(where, "rb") as file:
                raw = file.read(limit + 1)
        except OSError as error:
            raise UsageError(f"cannot read {where!r}: {error.strerror}") from None
        if len(raw) > limit:
            raise UsageError(f"{where} has more than {limit} bytes, which is the payload_max")
    try:
        value: object = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        example = '\'{"name": "Developer"}\''
        raise UsageError(f"{where} is not JSON: {error}; write it like {example}") from None
    if not isinstance(value, dict):
        raise UsageError(f'{where} must be a JSON object, such as \'{{"name": "Developer"}}\'')
    return value  # pyright: ignore[reportUnknownVariableType]


def show_response(response: Response, *, as_json: bool = False) -> None:
    """Print a response: the whole as one line of JSON, or what matters, for people."""
    if as_json:
        print(json.dumps(dict(response.fields)))  # noqa: T201
        return
    if not response.success:
        code = response.error_code or "ERROR"
        report(f"the device answered {code}: {response.error or 'without a text'}")
    hidden = _not_shown(response)
    rest = {key: value for key, value in response.fields.items() if key not in hidden}
    if rest:
        print(readable_json(rest))  # noqa: T201


def _not_shown(response: Response) -> set[str]:
    """The fields that say nothing more: the envelope, and what the first line has said."""
    hidden = set(_ENVELOPE)
    if ignored_keys(response):  # has a line of its own
        hidden.add(IGNORED_FIELD)
    if response.get("phase") == "result" and "deviceId" in response:  # the dialect host-0.2
        hidden |= _HOST_ENVELOPE
        if response.get("status") in ("success", "error"):
            hidden.add("status")
    if not response.success:
        hidden |= {"error_code", "message" if response.get("error") is None else "error"}
    return hidden


def readable_json(value: Any) -> str:
    """JSON over several lines; what a device says cannot steer the terminal."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return "\n".join(escape(line) for line in text.split("\n"))
