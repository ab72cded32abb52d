"""Reading exceptions that others have written.

The rule: whoever reports an error has nobody to complain to, so nothing here raises. The trap: an
exception is an object of a petal's or a library's own. Its text, its attributes and even its
traceback can raise when they are asked for, and what is raised then takes the place of a report.
"""

from __future__ import annotations

import contextlib
import signal
import traceback
from collections.abc import Callable, Generator
from types import TracebackType
from typing import cast

import trio

from .._values.errors import CommandError, TransportError
from .._values.types.invalid import one_line

REASON_MAX = 300  # characters: an error in a list of a thousand is told a thousand times


def single(error: BaseException) -> BaseException:
    """The one error in a group; the group when there are more."""
    # By its type everywhere here: `isinstance` asks the object too.
    while issubclass(type(error), BaseExceptionGroup):
        group = cast(BaseExceptionGroup[BaseException], error)
        if len(group.exceptions) != 1:
            break
        error = group.exceptions[0]
    return error


def refusal_in(error: BaseException) -> CommandError | None:
    """The "no" that an error is, by itself or as a group of nothing else; of several the first.

    A handler's tasks may say "no" side by side, such as two uploads to one server that is full.
    """
    found: CommandError | None = None
    left = [error]
    while left:
        one = left.pop()
        if issubclass(type(one), BaseExceptionGroup):
            left += reversed(cast(BaseExceptionGroup[BaseException], one).exceptions)
        elif not issubclass(type(one), CommandError):
            return None
        elif found is None:
            found = cast(CommandError, one)
    return found


def text_of(error: BaseException) -> str:
    """Its type and its text."""
    name = type(error).__name__
    text = _asked(lambda: str(error), "its text cannot be read")
    return f"{name}: {text}" if text else name


def shortened(reason: str) -> str:
    """A reason as one line of a log has room for. It may hold text of the wire."""
    reason = one_line(reason)
    return reason if len(reason) <= REASON_MAX else f"{reason[:REASON_MAX]}..."


def showable(error: BaseException) -> BaseException:
    """What a log can show with its traceback: the error, or else one that stands in for it."""
    if _asked(lambda: "".join(traceback.format_exception(error)), ""):
        return error
    instead = RuntimeError(f"{text_of(error)} (it cannot be shown as it is)")
    where = BaseException.__dict__["__traceback__"].__get__(error)
    return instead.with_traceback(where)


def is_interrupt(error: BaseException) -> bool:
    """Whether it is Ctrl-C, which means the whole process.

    That is raised by whoever handles the signal, in the middle of whatever runs just then; a
    `KeyboardInterrupt` from elsewhere is an error of the code that raises it. Where Python handles
    the signal itself, nobody can tell one from the other.
    """
    if not issubclass(type(error), KeyboardInterrupt):
        return False
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        return True
    where: TracebackType | None = BaseException.__dict__["__traceback__"].__get__(error)
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    return where is not None and where.tb_frame.f_code is getattr(handler, "__code__", None)


def split_foreign(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """What of an error has to travel on, and what is the business of the code that raised it.

    Trio's `Cancelled` travels while a cancellation is under way here, and so does Ctrl-C. All else
    is an error, of whatever class: `SystemExit`, a `KeyboardInterrupt` of its own, `CancelledError`
    of asyncio, and a `Cancelled` that somebody kept and raised again later.
    """
    cancelled = trio.current_effective_deadline() == -float("inf")

    def travels(one: BaseException) -> bool:
        return (cancelled and issubclass(type(one), trio.Cancelled)) or is_interrupt(one)

    if not issubclass(type(error), BaseExceptionGroup):
        return (error, None) if travels(error) else (None, error)
    try:
        return cast(BaseExceptionGroup[BaseException], error).split(travels)
    except Exception:  # a group with a `derive` of its own
        return None, error


def hint_for(error: BaseException) -> str:
    """What to write instead, where an error is known to say too little; else nothing.

    Of calls of asyncio in a native petal: its own error says that no loop runs, and Trio's that it
    does not know what it was given.
    """
    text = _asked(lambda: _texts(error), "")
    return _ASYNCIO if any(sign in text for sign in _SIGNS) else ""


_SIGNS = (
    "no running event loop",
    "no current event loop",
    "trio.run received unrecognized yield message",
    "trio got unexpected",
)
_ASYNCIO = (
    ". Native petals run on Trio, where asyncio does not: write trio.sleep for asyncio.sleep, a "
    "nursery for create_task, and for a library made for asyncio trio_asyncio.aio_as_trio (see "
    "'Calling an asyncio library' in petalkit's docs)"
)


def _texts(error: BaseException) -> str:
    if not issubclass(type(error), BaseExceptionGroup):
        return str(error)
    group = cast(BaseExceptionGroup[BaseException], error)
    return "\n".join(_texts(one) for one in group.exceptions)


def _asked(ask: Callable[[], str], otherwise: str) -> str:
    try:
        return ask()
    except BaseException as error:
        if is_interrupt(error):
            raise
        return otherwise


@contextlib.contextmanager
def single_transport_error() -> Generator[None]:
    """Take a transport's error out of the nursery's group; anything else is a bug and stays."""
    try:
        yield
    except BaseExceptionGroup as group:
        errors, rest = group.split(TransportError)
        if errors is None:
            raise
        if rest is not None:
            if rest.split(trio.Cancelled)[1] is None:
                raise rest from None  # left anyway, so the loss does not count
            raise
        error: BaseException = errors
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
