"""trio-asyncio, imported here for all.

From Python 3.12 on its import says that a class of asyncio's is deprecated. That is nothing that a
user can mend, and an error where warnings are errors.

The trap: it puts a `get_running_loop` of its own into asyncio, which alone knows its loops, and a
module that was imported before has taken the other one out of it (`from asyncio import ...`, as
AnyIO does, and so FastAPI). So those are given the new one.
"""

from __future__ import annotations

import _asyncio
import asyncio
import sys
import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "'AbstractChildWatcher' is deprecated", DeprecationWarning)
    import trio_asyncio as trio_asyncio

_NAME = "get_running_loop"


def _renew_what_was_taken() -> None:
    taken = getattr(_asyncio, _NAME)
    for name, module in list(sys.modules.items()):
        if name != _asyncio.__name__ and getattr(module, "__dict__", {}).get(_NAME) is taken:
            setattr(module, _NAME, asyncio.get_running_loop)


_renew_what_was_taken()
