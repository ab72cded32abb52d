"""`@stream`: what marks a method as the source of a stream of values, and what it may be told."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import attrs

from ..inspection.foreign import repr_of
from ..inspection.handlers import Handler, Refuse
from ..inspection.marks import mark
from .options import beside

F = TypeVar("F", bound=Callable[..., Any])

RATE_MAX = 100.0  # messages per second


@attrs.frozen(kw_only=True)
class StreamOptions:
    """What `@stream` was told. See there for the meaning."""

    name: str
    max_rate: float = RATE_MAX
    keep: bool = False

    def beside(self, verb: str) -> str:
        """The name of one of the commands that belong to it."""
        return beside(self.name, verb)


def stream(name: str, *, max_rate: float = RATE_MAX, keep: bool = False) -> Callable[[F], F]:
    """Make a method of a `Petal` a stream: values for whoever subscribes, the latest at their rate.

    An async generator runs while somebody reads it, and what it yields last is what a reader gets
    next. A plain `def` without arguments is called when a reader's turn comes: a value that is
    there anyway, such as the last known position. Either gives what a command may return. Two
    commands belong to it, `subscribe_name` and `unsubscribe_name`, and one to the petal:
    `unsubscribe_all`. Returns the function unchanged.

    Args:
        name: as for `@command`.
        max_rate: messages per second that one reader may ask for; a higher rate is cut to it.
        keep: once somebody has read it, let the generator run on when nobody does.

    Raises:
        TypeError: it was used without parentheses, or not over a function.
        RegistrationError: when the table of commands is built, not here.
    """
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f'@stream needs a name: write @stream("name") over {repr_of(name)}')
    options = StreamOptions(name=name, max_rate=max_rate, keep=keep)

    def decorate(function: F) -> F:
        if not mark(function, options):
            raise TypeError(
                f"@stream({name!r}) has to stand over a function, not over "
                f"{type(function).__name__} {repr_of(function)}"
            )
        return function

    return decorate


def check_stream(options: StreamOptions, method: Handler, refuse: Refuse) -> None:
    """Refuse what `@stream` was told and cannot be done.

    Raises:
        RegistrationError: made by `refuse`.
    """
    rate: object = options.max_rate
    number = isinstance(rate, int | float) and not isinstance(rate, bool)
    if not (number and 0 < options.max_rate <= RATE_MAX):
        raise refuse(f"max_rate must be above 0 and at most {RATE_MAX:g} Hz, not {rate!r}")
    if options.name.rpartition("/")[2] == "all":
        raise refuse("cannot be named 'all': unsubscribe_all ends all streams of a petal")
    if inspect.signature(method).parameters:
        raise refuse("takes arguments; a stream is one for all its readers, and has none")
    if inspect.isasyncgenfunction(method):
        return
    if inspect.iscoroutinefunction(method) or inspect.isgeneratorfunction(method):
        raise refuse("has to be an async generator (`async def` with `yield`), or a plain `def`")
    if options.keep:
        raise refuse("keep=True is for async generators; a plain def does not run on")


def is_sampled(method: Handler) -> bool:
    """Whether it is called at each reader's turn, and is no generator."""
    return not inspect.isasyncgenfunction(method)
