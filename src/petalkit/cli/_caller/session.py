"""A connection for the length of one command, and what went wrong with it, in words.

The rule: whatever happens, one error says what it is and what to do next, and every wait has an
end: the answers' own limit, or Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
import trio

from ..._serving.process.log_lines import escape
from ..._values.errors import ErrorCode, PayloadError, RejectedByBroker, TransportError
from ..._values.settings.settings import Settings
from ...client import CallTimeout, Client, CommandRefused, JobFailed, StreamFailed, open_client
from .._errors import EXIT_ERROR, EXIT_USAGE, FAILED, NO_ANSWER, NO_CONNECTION, CommandFailed
from .finding import find_device
from .interrupts import Interrupts
from .options import Ask
from .responses import answered, next_steps, same_id

INFO = "petalkit/info"
NOBODY = "nobody"  # stands for a device where none is called by default


@attrs.frozen
class Session:
    """What a command works with.

    Attributes:
        ask: who is asked, and how.
        client: an open one.
        device: the ID of the device that is meant; None for the client's own.
        interrupts: what Ctrl-C does.
    """

    ask: Ask
    client: Client
    device: str | None
    interrupts: Interrupts

    @property
    def to(self) -> Mapping[str, Any]:
        """For methods of the client: which device."""
        return {} if self.device is None else {"device": self.device}

    @property
    def device_id(self) -> str:
        """Of the device that is meant."""
        return self.client.identity.device_id if self.device is None else self.device

    @property
    def how(self) -> Mapping[str, Any]:
        """For methods of the client: which device, and how long each answer may take."""
        return {**self.to, "timeout": self.ask.timeout}


Work = Callable[[Session], Awaitable[int]]


def run_session(ask: Ask, work: Work, *, needs_device: bool = True) -> int:
    """Connect, work, and return the exit code.

    Args:
        ask: who is asked.
        work: what is done.
        needs_device: whether a device is called at all.

    Raises:
        CommandFailed: what went wrong, and what to do next.
        KeyboardInterrupt: Ctrl-C, where the work has nothing of its own to do then.
    """
    return trio.run(_session, ask, work, needs_device)


async def _session(ask: Ask, work: Work, needs_device: bool) -> int:
    interrupts = Interrupts()
    with interrupts.listen(), trio.CancelScope() as scope, interrupts.handled_by(scope.cancel):
        return await open_session(ask, work, interrupts, needs_device=needs_device)
    raise KeyboardInterrupt


async def open_session(
    ask: Ask, work: Work, interrupts: Interrupts, *, needs_device: bool = True, **how: Any
) -> int:
    """See `run_session`; `how` goes to `open_client`."""
    settings = ask.settings
    if not needs_device or ask.device is not None:
        how = {**how, "prepare": False}
        settings = attrs.evolve(settings, device_id=settings.device_id or NOBODY)
    try:
        async with open_client(settings, **how) as client:
            device = None
            if needs_device and ask.device is not None:
                there = await client.devices(timeout=ask.timeout)
                lists = attrs.evolve(ask, options=ask.others).line("devices")
                whose = client.identity.organization_id
                device = find_device(ask.device, there, whose, lists)
            return await work(Session(ask, client, device, interrupts))
    except CallTimeout as error:
        raise no_answer(error, ask) from None
    except CommandRefused as error:
        raise refused(error, ask) from None
    except (JobFailed, StreamFailed) as error:
        raise CommandFailed(str(error), code=error.code or FAILED) from None
    except RejectedByBroker as error:
        raise _rejected(error, ask) from None
    except TransportError as error:
        text = f"{broker_address(settings)}: {error}"
        raise _without_answer(text, NO_CONNECTION, ask) from None
    except trio.TooSlowError:
        text = f"{broker_address(settings)}: the broker did not answer within {ask.timeout:g} s"
        raise _without_answer(text, NO_ANSWER, ask) from None
    except PayloadError as error:
        raise CommandFailed(
            error.message,
            code=error.code,
            exit_code=EXIT_USAGE,
            hint="a command and its answer are JSON, of `payload_max` bytes at most: --help-all",
        ) from None


def broker_address(settings: Settings) -> str:
    """The broker, without what may be a secret in it."""
    url = settings.broker_url()
    return f"{url.scheme}://{url.netloc or url.path}"


def _without_answer(text: str, code: str, ask: Ask) -> CommandFailed:
    return CommandFailed(text, code=code, exit_code=EXIT_USAGE, hint=ask.hint)


def _rejected(error: RejectedByBroker, ask: Ask) -> CommandFailed:
    text = f"{broker_address(ask.settings)}: {error}"
    return _without_answer(text, NO_CONNECTION, ask)


def no_answer(error: CallTimeout, ask: Ask, base_topic: str | None = None) -> CommandFailed:
    """What is told of a call that nobody has answered.

    Args:
        error: it.
        ask: who was asked.
        base_topic: of the device that was asked.
    """
    who = f", and is it {base_topic!r}" if base_topic is not None else ""
    hints = [ask.hint]
    if error.sent:
        hints.append(
            f"for the answer that it may still give: the same call, with "
            f"{same_id(error.message_id)}"
        )
    return CommandFailed(
        f"{error}. Is the device there{who}?",
        code=NO_ANSWER,
        exit_code=EXIT_USAGE,
        hint=hints,
        more={"message_id": error.message_id, "sent": error.sent},
    )


def refused(error: CommandRefused, ask: Ask) -> CommandFailed:
    """What is told of a "no" to a command of petalkit's own."""
    steps = list(next_steps(error.response, error.command, ask.line))
    if error.command == INFO and error.code == ErrorCode.INVALID_DATA:  # of a name that was typed
        steps = [f"`{ask.line('info')}` shows what the device serves"]
    return CommandFailed(
        escape(answered(error.response)),
        code=error.code or FAILED,
        exit_code=EXIT_ERROR,
        hint=steps,
        more={"command": error.command},
    )
