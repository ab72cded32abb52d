"""What there is at one time that an operation could leave behind: tasks, files, threads, locks.

Files and sockets are read from `/proc/self/fd`; where there is none, they are not looked at. Locks
cannot be found, so `watch_locks` notes all that are made while it is on.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import weakref
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import trio

_FILES = "/proc/self/fd"
# Trio keeps its worker threads for a while. Whether one is busy, its limiter says.
_TRIO_THREAD = "Trio thread"

# Those that were made, with what was free of them then.
_locks: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()


@attrs.frozen
class Standing:
    """What there is now.

    Attributes:
        tasks: their names, of all in this `trio.run`.
        files: number and what is behind it.
        threads: the living ones.
        held: how much of each lock.
    """

    tasks: Counter[str]
    files: frozenset[tuple[str, str]]
    threads: frozenset[threading.Thread]
    held: Counter[str]

    @classmethod
    def now(cls) -> Standing:
        """Of the calling `trio.run`."""
        root = trio.lowlevel.current_root_task()
        assert root is not None
        return cls(
            Counter(task.name for task in _tree(root)),
            frozenset(_files()),
            frozenset(_threads()),
            Counter({name: count for name, count in _held() if count}),
        )

    def since(self, before: Standing, *, lasting: tuple[str, ...] = ()) -> list[str]:
        """What is there now and was not before, as words."""
        tasks = [
            name
            for name in (self.tasks - before.tasks).elements()
            if not (lasting and name.startswith(lasting))
        ]
        return [
            *(f"the task {name!r}" for name in tasks),
            *(f"the open file {what}" for _, what in self.files - before.files),
            *(f"the thread {thread.name!r}" for thread in self.threads - before.threads),
            *(f"{name}, held" for name in (self.held - before.held).elements()),
        ]


def _tree(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    yield task
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from _tree(child)


def _files() -> Iterator[tuple[str, str]]:
    if not os.path.isdir(_FILES):
        return
    for number in os.listdir(_FILES):
        try:
            yield number, os.readlink(f"{_FILES}/{number}")
        except FileNotFoundError:  # the one that listed them
            continue


def _threads() -> Iterator[threading.Thread]:
    for thread in threading.enumerate():
        if not thread.name.startswith(_TRIO_THREAD):
            yield thread


# -- locks


def _held() -> Iterator[tuple[str, int]]:
    for lock, free in list(_locks.items()):
        yield f"{type(lock).__name__} {id(lock):#x}", free - _free(lock)


def _free(lock: Any) -> int:
    match lock:
        case trio.CapacityLimiter():
            return -int(lock.borrowed_tokens)  # their total may change
        case trio.Semaphore():
            return int(lock.value)
        case _:
            return -int(lock.locked())


@contextmanager
def watch_locks() -> Generator[None]:
    """Note every lock, semaphore and limiter that is made inside the block."""
    kinds: tuple[Any, ...] = (trio.Lock, trio.Semaphore, trio.CapacityLimiter)
    originals = {kind: kind.__init__ for kind in kinds}

    def noting(original: Any) -> Any:
        def init(self: Any, *arguments: Any, **named: Any) -> None:
            original(self, *arguments, **named)
            _locks[self] = _free(self)

        return init

    for kind, original in originals.items():
        kind.__init__ = noting(original)
    _locks[trio.to_thread.current_default_thread_limiter()] = 0
    try:
        yield
    finally:
        for kind, original in originals.items():
            kind.__init__ = original
        _locks.clear()


# -- logs


class _Errors(logging.Handler):
    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__(logging.ERROR)
        self._allowed = allowed
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}: {record.exc_info[1]!r}"
        if not any(re.match(pattern, text) for pattern in self._allowed):
            self.texts.append(text)


@contextmanager
def watch_errors(allowed: tuple[str, ...] = ()) -> Generator[list[str]]:
    """What is logged as an error inside the block, by anybody."""
    handler = _Errors(allowed)
    logging.getLogger().addHandler(handler)
    try:
        yield handler.texts
    finally:
        logging.getLogger().removeHandler(handler)
