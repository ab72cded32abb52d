"""What `@job` says of a job, and the refusal of what cannot be used."""

from __future__ import annotations

import math
from typing import Any

import attrs

from ..declared import WhenBusy
from ..inspection.handlers import Refuse
from ..unknown_keys import UnknownKeysRule

# Before the last part of a job's name: the commands that belong to it.
SUBSCRIBE, UNSUBSCRIBE, CANCEL, STATUS, RESULT = (
    "subscribe",
    "unsubscribe",
    "cancel",
    "status",
    "result",
)


@attrs.frozen(kw_only=True)
class JobOptions:
    """What `@job` was told. See there for the meaning."""

    name: str
    timeout: float = math.inf
    concurrency: int = 1
    queue: int = 0
    exclusive: str | None = None
    when_busy: WhenBusy = "refuse"
    lease: float | None = None
    end_on_link_loss: bool = False
    resume: bool = False
    thread: bool = False
    unknown_keys: UnknownKeysRule | None = None
    check_result: bool = True

    def beside(self, verb: str) -> str:
        """The name of one of the commands that belong to it."""
        return beside(self.name, verb)


def beside(name: str, verb: str) -> str:
    """The name of a command that belongs to another: `logs/fetch` has `logs/cancel_fetch`."""
    front, slash, last = name.rpartition("/")
    return f"{front}{slash}{verb}_{last}"


def check_job(options: JobOptions, refuse: Refuse) -> None:
    """Refuse what `@job` was told and cannot be done.

    Raises:
        RegistrationError: made by `refuse`.
    """
    _check_seconds("timeout", options.timeout, refuse, infinite=True)
    if options.lease is not None:
        _check_seconds("lease", options.lease, refuse, infinite=False)
    _check_count("concurrency", options.concurrency, 1, refuse)
    _check_count("queue", options.queue, 0, refuse)
    exclusive: object = options.exclusive
    if exclusive is not None and not (isinstance(exclusive, str) and exclusive):
        raise refuse(f"exclusive must be the name of a group, not {exclusive!r}")
    if exclusive is not None and options.concurrency != 1:
        raise refuse("one of an exclusive group runs at a time: concurrency has to be 1")
    if options.thread and options.lease is not None:
        raise refuse("nobody can stop a thread when its lease runs out: write async def")
    if options.resume and options.lease is not None:
        raise refuse("what has a lease ends with it, so it is not resumed after a restart")


def _check_seconds(name: str, value: Any, refuse: Refuse, *, infinite: bool) -> None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    if not good or (not infinite and value == math.inf):
        more = " or math.inf" if infinite else ""
        raise refuse(f"{name} must be seconds above 0{more}, not {value!r}")


def _check_count(name: str, value: Any, least: int, refuse: Refuse) -> None:
    if type(value) is not int or value < least:
        raise refuse(f"{name} must be a whole number, {least} or more, not {value!r}")
