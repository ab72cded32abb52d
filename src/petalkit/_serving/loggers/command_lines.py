"""The lines that every command has, at a fraction of what `Logger.log` costs.

The rule: all that `logging` promises holds. Filters, handlers and factories of a program get a
`LogRecord` with all its attributes; where nobody but our own handler would see one, none is made;
and where nobody listens nothing is worded. The trap: what a program adds to `logging` it adds at
any time, and nobody is told; so it is looked at for each line, which costs a tenth of a record.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from threading import get_ident
from time import time
from types import CodeType
from typing import Any, TypeAlias

from ...transports._forks import in_child
from .kept import KeptLogger, watch

_RECORD, _MAKE = logging.LogRecord, logging.Logger.makeRecord


# What a record would say: when, in seconds since the epoch; names of level and logger; the message;
# petal, command and message ID; seconds since it was accepted; the code of an error, or None. A
# plain tuple, because two are made for every command.
CommandLine: TypeAlias = tuple[float, str, str, str, str, str, str | None, float, str | None]


class LineHandler(logging.Handler):
    """A handler that can do without records, as long as nobody changes what it does with them."""

    take_line: Callable[[CommandLine], object] | None = None
    own_formatter: logging.Formatter | None = None  # what it was made with
    own_filters: Sequence[Any] = ()


class CommandLines:
    """See the module.

    What is the same in each record is made once: the place in the code, the names of thread and
    process.

    Args:
        logger: one of ours.
        place: the code that logs, as the record says it.
    """

    def __init__(self, logger: logging.Logger, place: CodeType) -> None:
        self._logger = logger
        self._code = place
        self._forget()

    def _forget(self) -> None:
        self._thread = -1
        self._same: dict[str, Any] = {}
        self._began = 0.0  # `relativeCreated` counts from then

    def info(
        self,
        message: str,
        petal: str,
        command: str,
        message_id: str | None,
        elapsed: float,
        code: str | None,
    ) -> None:
        """Log a line at INFO, if anybody listens. See `CommandLine`."""
        logger = self._logger
        if not logger.isEnabledFor(logging.INFO):
            return
        handler = watch.handler
        if isinstance(handler, LineHandler):
            parent, root, take = logger.parent, logging.root, handler.take_line
            if (
                take is not None
                and not (logger.handlers or logger.filters)
                and logger.propagate
                and parent is not None
                and not parent.handlers
                and parent.propagate
                and parent.parent is root
                and root.handlers == [handler]
                and handler.filters == handler.own_filters
                and handler.formatter is handler.own_formatter
                and handler.level <= logging.INFO
                and watch.turned_off_at is None
                and type(logger) is KeptLogger
                and logging.getLogRecordFactory() is _RECORD
            ):  # nobody but this handler would ever know of a record
                names = "INFO", logger.name, message, petal, command
                take((time(), *names, message_id, elapsed, code))
                return
        fields = {"petal": petal, "command": command, "message_id": message_id}
        self._log_record(message, {**fields, "elapsed": round(elapsed, 6)}, code)

    def _log_record(self, message: str, fields: dict[str, Any], code: str | None) -> None:
        logger = self._logger
        if code is not None:
            fields["error_code"] = code
        if (
            get_ident() != self._thread
            or logging.getLogRecordFactory() is not _RECORD
            or type(logger).makeRecord is not _MAKE
        ):
            logger.handle(self._make(message, fields))
            return
        record = _RECORD.__new__(_RECORD)
        now = time()
        found = record.__dict__
        found.update(self._same)
        found["msg"], found["created"], found["msecs"] = message, now, now % 1 * 1000 // 1
        found["relativeCreated"] = (now - self._began) * 1000
        found.update(fields)
        logger.handle(record)

    def _make(self, message: str, fields: dict[str, Any]) -> logging.LogRecord:
        code = self._code
        made = self._logger.makeRecord(
            self._logger.name, logging.INFO, code.co_filename, code.co_firstlineno,
            message, (), None, code.co_name, fields,
        )  # fmt: skip
        if type(made) is _RECORD and logging.getLogRecordFactory() is _RECORD:
            self._same = {name: one for name, one in made.__dict__.items() if name not in fields}
            if "taskName" in self._same:  # since Python 3.12: of a task of asyncio
                self._same["taskName"] = None
            self._began = made.created - made.relativeCreated / 1000
            if self._thread == -1:
                in_child(self._forget)  # which is another process
            self._thread = get_ident()
        return made
