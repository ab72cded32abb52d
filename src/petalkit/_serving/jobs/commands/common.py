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
from ..subscriptions import Subscription, Subscriptions, TooManySubscriptions

RATE = 10.0  # messages per second, unless the reader says another
Envelope = Literal["web", "plain"]
StreamId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


def refuser(spec: CommandSpec) -> Callable[..., RegistrationError]:
    def refuse(reason: str, parameter: str | None = None) -> RegistrationError:
        return RegistrationError(reason, petal=spec.petal, method=spec.method, parameter=parameter)

    return refuse


def make_command(
    petal: Petal, name: str, handler: Any, part_of: PartOf, *, urgent: bool = False
) -> CommandSpec:
    command = CommandOptions(name=name, urgent=urgent, journal=False, timeout=5.0)
    return attrs.evolve(make_spec(petal, command, handler), part_of=part_of)


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
