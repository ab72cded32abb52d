"""What the commands of jobs and of streams share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import attrs
import msgspec

from ...._authoring.declared import CommandOptions
from ...._authoring.petal import Petal
from ...._authoring.registry import CommandSpec, make_spec
from ...._authoring.spec import PartOf
from ...._values.errors import CommandError, ErrorCode, RegistrationError
from ..reading.subscriptions import Subscription, Subscriptions, TooManySubscriptions

RATE = 10.0  # messages per second, unless the reader says another
Envelope = Literal["web", "plain"]
StreamId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


def refuser(spec: CommandSpec) -> Callable[..., RegistrationError]:
    def refuse(reason: str, parameter: str | None = None) -> RegistrationError:
        return RegistrationError(reason, petal=spec.petal, method=spec.method, parameter=parameter)

    return refuse


def make_command(
    petal: Petal, name: str, handler: Any, part_of: PartOf, of: str, *, urgent: bool = False
) -> CommandSpec:
    """A command that belongs to a job or a stream.

    Args:
        petal: whose.
        name: without the petal's.
        handler: what is called.
        part_of: what it belongs to.
        of: the same, for whoever has another command of that name.
        urgent: as for `@command`.
    """
    command = CommandOptions(name=name, urgent=urgent, journal=False, timeout=5.0)
    made = make_spec(petal, command, handler)
    return attrs.evolve(made, method=f"{name} of the {of}", part_of=part_of)


def check_new(method: CommandSpec, known: dict[str, CommandSpec], what: str) -> None:
    """Refuse a second job or stream of one name; else the last one would be served, silently.

    Raises:
        RegistrationError: there is one of that name.
    """
    other = known.setdefault(method.name, method)
    if other is not method:
        raise refuser(method)(
            f"the {what} {method.name!r} is already served by petal {other.petal!r}, "
            f"{other.method}()"
        )


def add_reader(subscriptions: Subscriptions, subscription: Subscription) -> None:
    """One more reader.

    Raises:
        CommandError: there are too many.
    """
    try:
        subscriptions.add(subscription)
    except TooManySubscriptions:
        text = f"there are {len(subscriptions)} subscriptions, and that is all"
        raise CommandError(ErrorCode.BUSY, text, retryable=True) from None
