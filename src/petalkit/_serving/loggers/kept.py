"""Our own loggers, kept on, whoever configures logging and whenever.

The rule: what petalkit has to tell is told; where logging is configured so that it would not be, it
says so once and goes on. Code that turns off one of our loggers by itself means it, and is left
alone. The trap: `logging.config` turns off every logger that exists and that it does not name, with
`basicConfig(force=True)` takes the handlers of the root logger away, and `logging.disable` silences
all. A petal may do so in a handler or a thread, long after its start, when nobody looks. So our
loggers refuse to be turned off by it, which costs nothing while they are read; and they look at the
handlers when they write.
"""

from __future__ import annotations

import logging
import sys
from types import FrameType
from typing import Any

_ADVICE = "configure logging with disable_existing_loggers=False"


class _Dropped:
    """Lines that no reader of the log took in time, of this process."""

    total = 0


dropped_lines = _Dropped()


class KeptLogger(logging.Logger):
    """A logger that `logging.config` cannot turn off."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "disabled" and value and _by_logging_config(sys._getframe(1)):
            watch.turned_off_at = _place(sys._getframe(1))
            return
        super().__setattr__(name, value)

    def callHandlers(self, record: logging.LogRecord) -> None:  # noqa: N802 - its name
        """Hand over a record; and tell first if something was done to the log."""
        if watch.turned_off_at is not None:
            enable_again(f"the code at {watch.turned_off_at}")
        if watch.handler is not None and watch.handler not in logging.root.handlers:
            watch.tell_of_handlers()
        super().callHandlers(record)


class _Watch:
    """What was done to the log, and was not told yet."""

    def __init__(self) -> None:
        self.turned_off_at: str | None = None  # file and line
        self.disabled = False  # it was by `logging.disable`
        self.handler: logging.Handler | None = None  # which has to be on the root logger

    def tell_of_handlers(self) -> None:
        """Ours is not there any more: say so where it writes, or put it back if nobody else is."""
        with logging._lock:  # type: ignore[attr-defined]  # or it may be half done, in a thread
            handler, root = self.handler, logging.root
            if handler is None or handler in root.handlers:
                return
            if root.handlers:
                self.handler = None
                text = (
                    "the handlers of the root logger were replaced, and have petalkit's lines from "
                    "now on; this is the last one here. To keep them, give your handlers to a "
                    "logger of your own"
                )
            else:
                root.addHandler(handler)
                text = (
                    "the handlers of the root logger were removed, and petalkit's is put back: "
                    "give a logger of your own the handlers that you want"
                )
        logger = logging.getLogger("petalkit.petals")
        record = logger.makeRecord(logger.name, logging.WARNING, __file__, 0, text, (), None)
        handler.handle(record)


watch = _Watch()


class _Undisturbed:
    """The manager of our loggers while we watch the log: `logging.disable` is not for them.

    What it said before counts: a program had its reason.
    """

    def __init__(self) -> None:
        self.disable = logging.root.manager.disable

    def __getattr__(self, name: str) -> Any:
        return getattr(logging.root.manager, name)


class _Manager(logging.Manager):
    """The manager of all loggers, which notes where all were silenced."""

    @property
    def disable(self) -> int:
        """As it was set."""
        return int(_disable.fget(self))

    @disable.setter
    def disable(self, value: Any) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        before = self.disable
        _disable.fset(self, value)
        if self.disable > before and _undisturbed is not None:
            watch.turned_off_at, watch.disabled = _place(sys._getframe(1)), True


_disable: Any = vars(logging.Manager)["disable"]
_undisturbed: _Undisturbed | None = None


def keep_on() -> None:
    """Let no `logging.config` turn off petalkit's loggers, of those that exist by now."""
    for logger in _ours():
        if not isinstance(logger, KeptLogger):
            try:
                logger.__class__ = _kept(type(logger))
            except TypeError:  # a class of the program's own that is laid out otherwise
                continue
        manager: Any = _undisturbed or logging.root.manager
        if logger.manager is not manager:
            logger.manager = manager
            logger.setLevel(logger.level)  # what it has made of the other one is forgotten


def watch_handler(handler: logging.Handler | None) -> None:
    """Tell once when this one is taken from the root logger; None watches none.

    While one is watched, `logging.disable` is not for petalkit's loggers.
    """
    global _undisturbed
    watch.handler = handler
    manager = logging.root.manager
    if handler is None:
        _undisturbed = None
    elif _undisturbed is None and isinstance(manager, logging.Manager):
        if type(manager) is logging.Manager:  # else it is a program's own, which knows better
            manager.__class__ = _Manager
        _undisturbed = _Undisturbed()
    keep_on()


def allow_again(level: int) -> bool:
    """Take back what `logging.disable` has silenced since it was at that level.

    Returns:
        Whether there was anything to take back.
    """
    if logging.root.manager.disable <= level:
        return False
    logging.disable(level)
    if watch.disabled:
        watch.turned_off_at, watch.disabled = None, False
    return True


def enable_again(who: str) -> None:
    """Let petalkit be heard again where code of a petal has turned its loggers off.

    Args:
        who: has done it, most likely; for the one line that tells of it.
    """
    place, watch.turned_off_at = watch.turned_off_at, None
    disabled, watch.disabled = watch.disabled, False
    found = place is not None
    for logger in _ours():
        # One that is kept was turned off by a program that means it.
        if logger.disabled and not isinstance(logger, KeptLogger):
            logger.disabled = False
            found = True
    keep_on()
    if disabled:
        logging.getLogger("petalkit.petals").warning(
            "%s has silenced all loggers but petalkit's by logging.disable(): set the level of a "
            "logger of your own",
            who,
        )
    elif found:
        logging.getLogger("petalkit.petals").warning(
            "%s has turned off petalkit's loggers, which stay on: %s", who, _ADVICE
        )


def _ours() -> list[logging.Logger]:
    return [
        logger
        for name, logger in list(logging.root.manager.loggerDict.items())
        if (name == "petalkit" or name.startswith("petalkit."))
        and isinstance(logger, logging.Logger)
    ]


def _kept(cls: type[logging.Logger]) -> type[logging.Logger]:
    return (
        KeptLogger if cls is logging.Logger else type(f"Kept{cls.__name__}", (KeptLogger, cls), {})
    )


def _by_logging_config(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") == "logging.config"


def _place(frame: FrameType | None) -> str:
    """Where logging was configured."""
    while frame is not None and frame.f_globals.get("__name__", "").startswith("logging"):
        frame = frame.f_back
    return "an unknown place" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
