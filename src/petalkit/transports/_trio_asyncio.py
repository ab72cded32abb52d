"""trio-asyncio, imported here for all.

From Python 3.12 on its import says that a class of asyncio's is deprecated. That is nothing that a
user can fix, and an error where warnings are errors.

The trap: it puts functions of its own into asyncio, which alone know its loops, and a module that
was imported before has taken the others out of it (`from asyncio import get_running_loop`, as AnyIO
does, and so FastAPI). So those are given the new ones.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from typing import Any

_NAMES = ("current_task", "get_event_loop", "get_running_loop")
_TAKEN: dict[str, Any] = {name: getattr(asyncio, name) for name in _NAMES}

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "'AbstractChildWatcher' is deprecated", DeprecationWarning)
    import trio_asyncio as trio_asyncio

_THEIRS = ("asyncio", "_asyncio", "trio_asyncio")  # which know what they hold


def _renew_what_was_taken() -> None:
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] in _THEIRS or module is sys.modules[__name__]:
            continue
        held = getattr(module, "__dict__", {})
        for name, taken in _TAKEN.items():
            if held.get(name) is taken:
                setattr(module, name, getattr(asyncio, name))


_renew_what_was_taken()
