"""Which public functions wait: found by looking at what petalkit offers, so that none is forgotten.

Public is every name without an underscore in the modules below, with its methods; and the methods
of petalkit's own links and transports, which people get from them. A function waits when it is a
coroutine function, or an async context manager, or says that it returns one of these.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import types
from collections.abc import Callable, Iterator
from typing import Any

import petalkit
from petalkit.transports import Link, Transport

# A module that is not there yet is passed over.
MODULES = (
    "petalkit",
    "petalkit.client",
    "petalkit.client.aio",
    "petalkit.testing",
    "petalkit.compat",
    "petalkit.transports",
    "petalkit.transports.asyncio_mqtt",
    "petalkit.transports.memory",
    "petalkit.transports.native",
    "petalkit.transports.sidecar",
    "petalkit.cli._embedded_broker",
    "petalkit._serving.ledger.journal.write_ahead",
)
_RETURNED = ("AbstractAsyncContextManager", "AsyncGenerator", "AsyncIterator", "Awaitable")


def key(function: Callable[..., Any]) -> str:
    """How a function is named here, such as `client.Client.call`."""
    module = function.__module__.removeprefix("petalkit").lstrip(".")
    return f"{module}.{function.__qualname__}"


def waiting_functions() -> dict[str, Callable[..., Any]]:
    """All of them, by their keys."""
    for module in pkgutil.walk_packages(petalkit.__path__, "petalkit."):
        if module.name.split(".")[-1] not in ("host_names", "__main__"):
            _import(module.name)  # so that every link has been defined
    found = {
        key(function): function
        for name in MODULES
        if (module := _import(name)) is not None
        for function in _of_module(module)
    }
    for base in (Link, Transport):
        for kind in _subclasses(base):
            found.update((key(function), function) for function in _of_class(kind))
    return found


def _import(name: str) -> types.ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("petalkit"):
            return None
        raise


def _of_module(module: types.ModuleType) -> Iterator[Callable[..., Any]]:
    whole = hasattr(module, "__path__")  # a package offers what it imports
    for name in dir(module):  # also what is imported when it is asked for
        value = getattr(module, name)
        origin = getattr(value, "__module__", None) or ""
        if name.startswith("_") or not origin.startswith("petalkit"):
            continue
        if whole or origin == module.__name__:
            if inspect.isclass(value):
                yield from _of_class(value)
            elif waits(value):
                yield value


def _of_class(kind: type) -> Iterator[Callable[..., Any]]:
    for name, value in vars(kind).items():
        function = getattr(value, "__func__", value)  # of a static or class method
        if not name.startswith("_") and waits(function):
            yield function


def _subclasses(kind: type) -> Iterator[type]:
    for each in kind.__subclasses__():
        if each.__module__.startswith("petalkit"):
            yield each
        yield from _subclasses(each)


def waits(function: Any) -> bool:
    """Whether a function is one whose caller has something to await."""
    if not inspect.isroutine(function):
        return False
    wrapped = inspect.unwrap(function)
    if inspect.iscoroutinefunction(wrapped) or inspect.isasyncgenfunction(wrapped):
        return True
    returned = str(getattr(wrapped, "__annotations__", {}).get("return", ""))
    return returned.startswith(_RETURNED)
