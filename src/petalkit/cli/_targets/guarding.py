"""Running the code of a petal: its errors become ours, and what it does to the process is undone.

A mistake in a TARGET is one line. An error inside the user's file shows the user's own part of the
traceback, and none of ours.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from types import TracebackType
from typing import Any

from ..._serving.failures import showable, text_of
from ..._values.errors import PetalkitError
from .._errors import UsageError
from .process_state import ProcessState

TRY_HOST_COMPAT = ": try --host-compat"
_HOST = "petal_app_manager"
# What the host had with it: its petals import these, and do not say that they need them.
_BROUGHT_BY_HOST = frozenset(
    {"dotenv", "fastapi", "httpx", "pydantic", "pydantic_core", "pymavlink", "requests", "yaml"}
)


class Missing(UsageError):
    """A module was not found; which one decides whether the target or its file is wrong."""

    def __init__(self, message: str, *, details: str, name: str | None) -> None:
        super().__init__(message, details=details)
        self.name = name


def guarded(target: str, call: Any, *arguments: Any, doing: str = "importing it") -> Any:
    """Run the user's code; its errors become a `UsageError` with the user's part of the trace.

    Args:
        target: as the user named it.
        call: what is called.
        arguments: of that.
        doing: what is done, for people.
    """
    state = ProcessState.now()
    try:
        return call(*arguments)
    except (UsageError, PetalkitError):
        raise
    except SystemExit as error:
        raise UsageError(f"{target!r}: {doing} ended the program ({error})") from None
    except KeyboardInterrupt:  # nothing else runs yet
        raise
    except BaseException as error:  # of whatever class
        message = f"{target!r} could not be loaded: {text_of(error)}"
        details = _own_traceback(showable(error))
        if isinstance(error, ModuleNotFoundError):
            message += _missing_hint(error.name or "")
            raise Missing(message, details=details, name=error.name) from None
        raise UsageError(message, details=details) from None
    finally:
        state.put_back(target)


def _missing_hint(name: str) -> str:
    if name == _HOST:
        return f"; it is a petal of the host{TRY_HOST_COMPAT}"
    if _HOST in sys.modules and name.split(".")[0] in _BROUGHT_BY_HOST:
        return "; the host brought it along: pip install 'petalkit[host-compat]'"
    return ""


def _own_traceback(error: BaseException) -> str:
    """The traceback from the first frame that is neither ours nor the import system's."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None and _is_machinery(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    if trace is None and not isinstance(error, SyntaxError):
        return ""
    return "".join(traceback.format_exception(type(error), error, trace))


_HERE = os.path.dirname(os.path.abspath(__file__))
_IMPORTLIB = os.path.dirname(os.path.abspath(importlib.__file__))


def _is_machinery(filename: str) -> bool:
    return filename.startswith(("<frozen importlib", _HERE, _IMPORTLIB))
