"""`petalkit call`: send one command, show the response, and follow a job to its end."""

from __future__ import annotations

import functools
import math
import secrets
from collections.abc import Mapping
from typing import Annotated, Any

import attrs
import trio
from cyclopts import Parameter

from ..._serving.waiting import beside
from ..._values.errors import ErrorCode
from ..._values.messages import MAX_EXPIRY, Response
from ...client import CallTimeout
from .._errors import (
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    EXIT_OK,
    INTERRUPTED,
    CommandFailed,
    UsageError,
    say_next,
)
from .._options import GENERAL, CallSettings, GeneralOptions
from .data import read_data
from .following import Followed, follow, starts_job
from .options import Ask, CallerOptions, check_seconds, make_ask
from .responses import expired_step, name_ignored, next_steps, show_response
from .session import Session, no_answer, run_session

GRACE = 2.0  # seconds for the answer after Ctrl-C: it may say which job has been started


@attrs.frozen
class Said:
    """What is called, and how.

    Attributes:
        command: the full name.
        data: the arguments.
        expires_in: seconds after which it is not to be started; None for the time of the call.
        message_id: of the command.
        follow: how long a job is followed; 0 for not at all.
    """

    command: str
    data: Mapping[str, Any]
    message_id: str = attrs.field(factory=lambda: f"call-{secrets.token_hex(8)}")
    expires_in: float | None = None
    follow: float = math.inf


def call(  # noqa: D417 - what is left out has its words in its class
    command: Annotated[str, Parameter(name="COMMAND")],
    data: Annotated[str, Parameter(name="DATA-JSON")] = "{}",
    /,
    *,
    detach: Annotated[bool, Parameter(negative=(), group=GENERAL)] = False,
    job_timeout: Annotated[float, Parameter(group=GENERAL)] = math.inf,
    expires_in: Annotated[float | None, Parameter(group=GENERAL)] = None,
    message_id: Annotated[str | None, Parameter(group=GENERAL)] = None,
    caller: CallerOptions | None = None,
    general: GeneralOptions | None = None,
    settings: Annotated[CallSettings | None, Parameter(name="*")] = None,
) -> int:
    """Send one command to a device and show its response.

    The device is the one of --organization-id and --device-id. The client ID is one of its own,
    so the device's session stays with the device.

    A job is followed to its end, with a bar where stderr is a terminal. Ctrl-C cancels it and waits
    until it has cleaned up; a second Ctrl-C leaves at once.

    Exit codes: 0 success, 1 the device answered with an error or the job did not succeed, 2 no
    answer, no connection, or a usage error, 130 Ctrl-C.

    Args:
        command: The full name, such as example-petal/hello.
        data: The arguments, as a JSON object; @FILE reads them from a file, @- from standard input.
        detach: Of a job show the start alone, and leave it to itself.
        job_timeout: How long to follow a job; then it goes on by itself. [s]
        expires_in: After so long the device is not to start the command any more, judged by its
            clock; inf for never. Without it, as long as --timeout. [s]
        message_id: The messageId; without it a new one. The same again asks for the same answer
            again, from the device's record.
    """
    if not command:
        raise UsageError("call: which command? Write petalkit call example-petal/hello")
    ask = make_ask(general, caller, settings)
    if expires_in is not None and not (0 < expires_in <= MAX_EXPIRY or expires_in == math.inf):
        raise UsageError(f"--expires-in must be seconds above 0, or inf, not {expires_in}")
    if job_timeout != math.inf:
        check_seconds("--job-timeout", job_timeout)
    arguments = read_data(data, ask.settings.payload_max)
    follow_for = 0.0 if detach else job_timeout
    said = Said(command, arguments, expires_in=expires_in, follow=follow_for)
    if message_id is not None:
        said = attrs.evolve(said, message_id=message_id)
    return run_session(ask, functools.partial(work, said))


async def work(said: Said, session: Session) -> int:
    """Call, show what it comes to, and return the exit code."""
    response = await _answer(said, session)
    if said.follow and starts_job(response):
        followed = await follow(session, said.command, response, said.follow)
        if followed is not None:
            return _show_job(followed, said, session.ask)
    show_response(response, as_json=session.ask.as_json)
    name_ignored(response)
    if not response.success and not session.ask.as_json:
        say_next(next_steps(response, said.command, session.ask.line))
        if response.error_code == ErrorCode.EXPIRED and said.expires_in is None:
            say_next([expired_step(response, session.ask.timeout)])
    if session.interrupts.asked:
        return EXIT_INTERRUPTED
    return EXIT_OK if response.success else EXIT_ERROR


async def _answer(said: Said, session: Session) -> Response:
    """The response; Ctrl-C waits for it a moment more."""
    pressed = trio.Event()

    async def give_up() -> None:
        await pressed.wait()
        await trio.sleep(GRACE)
        scope.cancel()

    with trio.CancelScope() as scope, session.interrupts.handled_by(pressed.set):
        async with beside(give_up, "petalkit: Ctrl-C"):
            try:
                return await session.client.request(
                    said.command,
                    said.data,
                    expires_in=said.expires_in,
                    message_id=said.message_id,
                    **session.how,
                )
            except CallTimeout as error:
                topic = session.client.identity.base_topic if session.device is None else None
                raise no_answer(error, session.ask, topic) from None
    raise CommandFailed(
        f"interrupted; the device may have {said.command!r}, and still run it",
        code=INTERRUPTED,
        exit_code=EXIT_INTERRUPTED,
        hint=f"`{session.ask.line('cancel', said.message_id)}` ends it",
        more={"message_id": said.message_id},
    )


def _show_job(followed: Followed, said: Said, ask: Ask) -> int:
    followed.show(as_json=ask.as_json)
    if not ask.as_json:
        say_next(followed.next_steps(ask))
    return followed.exit_code
