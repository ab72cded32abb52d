"""What a handler is: whether it can be called as it is declared, and its annotations as types.

The trap: a handler may be a method, a partial, an instance with `__call__`, and stand under
decorators; its names are looked up where its `def` was written.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from ..._values.errors import RegistrationError
from ..._values.types.hints import bind, lineage, resolve
from .foreign import attribute_of

Handler = Callable[..., Any]
Refuse = Callable[..., RegistrationError]


def check_kind(handler: Handler, thread: bool, refuse: Refuse, *, is_job: bool = False) -> None:
    """Refuse what cannot be called as it is declared.

    Raises:
        RegistrationError: made by `refuse`.
    """
    if not callable(handler):
        raise refuse("is not callable")
    plain: Any = handler
    while isinstance(plain, functools.partial):
        plain = plain.func
    call = plain if inspect.isroutine(plain) else type(plain).__call__
    if inspect.isasyncgenfunction(call) or inspect.isgeneratorfunction(call):
        if is_job:
            raise refuse(
                "is a generator; a job has one result: return it, say how far it is with "
                "job.report(), and give values under @stream"
            )
        raise refuse("is a generator; a command has one answer: return it")
    is_async = inspect.iscoroutinefunction(plain) or inspect.iscoroutinefunction(call)
    if not is_async and inspect.iscoroutinefunction(inspect.unwrap(plain)):
        raise refuse(
            "has a decorator that hides that it is async: inside it, write async def, and await "
            "the handler"
        )
    if is_async and thread:
        raise refuse("is async, so it needs no thread: write def, or drop thread=True")
    if not is_async and not thread:
        raise refuse("is not async: write async def, or thread=True if it blocks")


def annotation_of(handler: Handler, name: str, annotation: Any) -> Any:
    """An annotation of a handler as a type.

    Raises:
        Unresolved: it cannot be resolved where the handler was written.
    """
    plain: Any = inspect.unwrap(handler)
    while isinstance(plain, functools.partial):
        plain = plain.func
    owner: Any = getattr(plain, "__self__", None)
    plain = getattr(plain, "__func__", plain)
    if not hasattr(plain, "__globals__"):
        owner = plain
        plain = getattr(type(plain).__call__, "__func__", type(plain).__call__)
    variables = {one.__name__: one for one in getattr(plain, "__type_params__", ())}
    found = resolve(annotation, getattr(plain, "__globals__", {}), variables)
    return found if owner is None else bind(found, _bound_in(owner, plain))


def _bound_in(owner: Any, function: Any) -> dict[Any, Any]:
    """What type variables stand for in a method that a class may have of a generic base."""
    cls = owner if isinstance(owner, type) else type(owner)
    for base, bound in lineage(cls):
        for member in vars(base).values():
            found = attribute_of(member, "__func__", member)
            if inspect.isfunction(found) and inspect.unwrap(found) is function:
                return dict(bound)
    return {}
