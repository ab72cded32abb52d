"""The end of the process: what petals leave running does not hold it up for ever.

The rule: once the main thread is done, the process ends within `EXIT_LIMIT`, with the exit code
that it has earned, and names what it does not wait for. The trap: Python waits for every thread
that is no daemon, and `multiprocessing` for every such process, each without a limit; also where
nothing was served, since a module may start them when it is imported. Another: Python takes
its handlers of signals away before it takes its modules apart, which can take half a second, and a
second signal then ends the process as any other does.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import time
from typing import NoReturn

from .standard_streams import last_words

EXIT_LIMIT = 5.0  # seconds for the process to end, once its work is done

_exit_code: int | None = None  # the last that was given
_leaving = threading.Event()  # the main thread is done, and Python waits for the others


def limit_exit(code: int) -> None:
    """Let this process, which has to be ours, end within `EXIT_LIMIT` of its main thread.

    Args:
        code: its exit code, if it has to be ended; the last call counts.
    """
    global _exit_code
    first, _exit_code = _exit_code is None, code
    if not first:
        return
    # Not from now on: whoever called may have more to do. The public `atexit` comes too late, after
    # the threads; of these hooks the last is called first, before the one that joins the threads
    # of executors.
    threading._register_atexit(_leaving.set)  # type: ignore[attr-defined]
    threading.Thread(target=_end_process, name="petalkit exit", daemon=True).start()


def end_process(code: int) -> NoReturn:
    """End this process, which has to be ours, as Python does, up to where signals are ours no more.

    Threads are waited for, within `limit_exit`, what is registered with `atexit` is called, and the
    standard streams are flushed. Call it in the main thread.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # pyright: ignore[reportUnnecessaryComparison]
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    os._exit(code)


def _end_process() -> None:
    _leaving.wait()  # no limit: nobody waits for a daemon thread
    time.sleep(EXIT_LIMIT)
    found = {"threads": _threads(), "processes": _processes()}
    left = {kind: names for kind, names in found.items() if names}
    if left and _exit_code is not None:
        for kind, names in left.items():
            last_words(f"exit: {kind} that do not end are left behind: {', '.join(names)}")
        os._exit(_exit_code)


def _threads() -> list[str]:
    return [
        thread.name
        for thread in threading.enumerate()
        if not thread.daemon and thread is not threading.main_thread()
    ]


def _processes() -> list[str]:
    """Those of `multiprocessing`, where a petal has used it."""
    module = sys.modules.get("multiprocessing")
    if module is None:
        return []
    return [one.name for one in module.active_children() if not one.daemon]
