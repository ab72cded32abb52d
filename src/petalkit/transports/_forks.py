"""What a forked child must not keep of its parent: signals, sockets, locks.

The rule: a child that a petal forks (`multiprocessing`, `os.fork`) has nothing of the runtime. Else
it swallows SIGTERM, keeps the connection to the broker open after its parent has died, and holds
what the parent's successor needs. The trap: a descriptor that is closed in the child would be
closed again by its Python object, maybe when it is another file's; so it is put to `/dev/null`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

_descriptors: dict[int, tuple[int, int]] = {}  # and device and inode, since numbers are used again
_in_child: dict[int, Callable[[], object]] = {}
_next = 0


def in_child(call: Callable[[], object]) -> Callable[[], None]:
    """Have something called in each child that this process forks, right after the fork.

    Returns:
        Forgets it again; in the same process.
    """
    global _next
    _next += 1
    key = _next
    _in_child[key] = call

    def forget() -> None:
        _in_child.pop(key, None)

    return forget


def not_in_child(descriptor: int) -> None:
    """Take a descriptor from each child that this process forks, as long as it is this file's."""
    _descriptors[descriptor] = _identity(descriptor)


def _identity(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def _take_away(descriptor: int, identity: tuple[int, int]) -> None:
    with contextlib.suppress(OSError):  # it was closed
        if _identity(descriptor) == identity:
            nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            os.dup2(nowhere, descriptor, inheritable=False)
            os.close(nowhere)


def _call_all() -> None:
    calls, descriptors = list(_in_child.values()), dict(_descriptors)
    _in_child.clear()  # the child's own runtime, if it makes one, begins anew
    _descriptors.clear()
    for descriptor, identity in descriptors.items():
        _take_away(descriptor, identity)
    for call in calls:
        with contextlib.suppress(Exception):  # the child is a petal's, and goes on
            call()


os.register_at_fork(after_in_child=_call_all)
