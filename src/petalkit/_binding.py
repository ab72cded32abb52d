"""How a handler's parameters are bound: resolved once, when the table of commands is built.

Signature, types and converter hooks are looked up here and never again. What cannot be bound is
refused with a text that says what to write instead, so that a petal that starts is a petal whose
every command can be called.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

import attrs
import cattrs

from ._context import CommandContext
from ._errors import ErrorCode, PayloadError, RegistrationError
from ._messages import Command
from ._structuring import field_errors

Handler = Callable[..., Any]
Binder = Callable[[Command, Callable[[], CommandContext]], dict[str, Any]]
Refuse = Callable[..., RegistrationError]


@attrs.frozen(kw_only=True)
class Parameter:
    """One parameter of a handler that is filled from `data`.

    Attributes:
        name: the key in `data`, or `"data"` for the whole of it.
        annotation: its type; `inspect.Parameter.empty` when it has none.
        required: whether the key must be there.
        default: used when the key is absent; `inspect.Parameter.empty` when it is required.
        whole: True when it takes the whole of `data`.
    """

    name: str
    annotation: Any
    required: bool
    default: Any
    whole: bool = False


def check_kind(handler: Handler, thread: bool, refuse: Refuse) -> None:
    if not callable(handler):
        raise refuse("is not callable")
    plain: Any = handler
    while isinstance(plain, functools.partial):
        plain = plain.func
    call = plain if inspect.isroutine(plain) else type(plain).__call__
    if inspect.isasyncgenfunction(call) or inspect.isgeneratorfunction(call):
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


def _annotation(handler: Handler, parameter: inspect.Parameter, refuse: Refuse) -> Any:
    annotation = parameter.annotation
    if not isinstance(annotation, str):
        return annotation
    plain: Any = inspect.unwrap(handler)
    while isinstance(plain, functools.partial):
        plain = plain.func
    plain = getattr(plain, "__func__", plain)
    if not hasattr(plain, "__globals__"):
        plain = getattr(type(plain).__call__, "__func__", type(plain).__call__)
    holder = type("_", (), {"__annotations__": {parameter.name: annotation}})
    try:
        return typing.get_type_hints(
            holder, globalns=getattr(plain, "__globals__", {}), include_extras=True
        )[parameter.name]
    except Exception as error:
        raise refuse(
            f"the annotation {annotation!r} cannot be resolved ({error}); "
            "the type has to be importable where the module is, not only for type checkers",
            parameter.name,
        ) from error


def make_binder(
    handler: Handler, converter: cattrs.Converter, refuse: Refuse
) -> tuple[tuple[Parameter, ...], Binder]:
    context_name = command_name = None
    whole: tuple[str, Callable[[Any, Any], Any] | None, Any] | None = None
    fields: list[tuple[str, Callable[[Any, Any], Any] | None, Any, bool]] = []
    parameters: list[Parameter] = []
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError) as error:
        raise refuse(f"has no signature that can be read: {error}") from error
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise refuse("is positional-only; arguments are passed by name", parameter.name)
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise refuse(
                "cannot be bound; take the whole of the arguments as `data: dict`",
                parameter.name,
            )
        annotation = _annotation(handler, parameter, refuse)
        empty = annotation is parameter.empty
        if annotation is CommandContext:
            if context_name is not None:
                raise refuse("is a second CommandContext", parameter.name)
            context_name = parameter.name
            continue
        if annotation is Command:
            if command_name is not None:
                raise refuse("is a second Command", parameter.name)
            command_name = parameter.name
            continue
        if _mentions(annotation, (CommandContext, Command)):
            raise refuse(
                "is annotated with more than CommandContext or Command; write that alone, "
                "or the sender would say what it is",
                parameter.name,
            )
        hook = None
        if not empty and annotation is not Any:
            hook = _hook(converter, annotation, parameter.name, refuse)
        required = parameter.default is parameter.empty
        is_whole = parameter.name == "data"
        if is_whole:
            if annotation is dict:
                hook = None
            whole = (parameter.name, hook, annotation)
        else:
            fields.append((parameter.name, hook, annotation, required))
        parameters.append(
            Parameter(
                name=parameter.name,
                annotation=annotation,
                required=required and not is_whole,
                default=parameter.default,
                whole=is_whole,
            )
        )
    return tuple(parameters), _binder(context_name, command_name, whole, tuple(fields))


def _mentions(annotation: Any, wanted: tuple[type, ...]) -> bool:
    return any(annotation is one for one in wanted) or any(
        _mentions(one, wanted) for one in _arguments(annotation)
    )


def _arguments(annotation: Any) -> tuple[Any, ...]:
    # A Literal's arguments are values, a Callable's first one is a list.
    origin: Any = typing.get_origin(annotation)
    return () if origin in (typing.Literal, Callable) else typing.get_args(annotation)


def _hook(
    converter: cattrs.Converter, annotation: Any, name: str, refuse: Refuse
) -> Callable[[Any, Any], Any]:
    reason = f"the type {annotation!r} cannot be made from JSON"
    try:
        hook = converter.get_structure_hook(annotation)
    except Exception as error:
        raise refuse(f"{reason} ({error}); register a hook on the petal's converter", name) from (
            error
        )
    if _is_cattrs_own(hook, "_structure_optional"):
        # It looks up the hook for X in `X | None` only when a value comes.
        for member in typing.get_args(annotation):
            _hook(converter, member, name, refuse)
    if _is_cattrs_own(hook, "_structure_error"):
        raise refuse(f"{reason}; register a hook on the petal's converter", name)
    return hook


def _is_cattrs_own(hook: Any, method: str) -> bool:
    """Whether this is a fallback of cattrs, which would speak up only at the first command."""
    return getattr(hook, "__name__", "") == method


def _binder(
    context_name: str | None,
    command_name: str | None,
    whole: tuple[str, Callable[[Any, Any], Any] | None, Any] | None,
    fields: tuple[tuple[str, Callable[[Any, Any], Any] | None, Any, bool], ...],
) -> Binder:
    def bind(command: Command, context: Callable[[], CommandContext]) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        data = command.data
        errors: list[dict[str, str]] | None = None
        if whole is not None:
            name, hook, annotation = whole
            try:
                arguments[name] = data if hook is None else hook(data, annotation)
            except Exception as error:
                errors = field_errors(error, "data")
        for name, hook, annotation, required in fields:
            if name in data:
                try:
                    value = data[name]
                    arguments[name] = value if hook is None else hook(value, annotation)
                except Exception as error:
                    errors = (errors or []) + field_errors(error, f"data.{name}")
            elif required:
                missing = {"path": f"data.{name}", "message": "is required"}
                errors = [*(errors or []), missing]
        if errors:
            text = "; ".join(f"{error['path']} {error['message']}" for error in errors)
            raise PayloadError(ErrorCode.INVALID_DATA, text, errors)
        if context_name is not None:
            arguments[context_name] = context()
        if command_name is not None:
            arguments[command_name] = command
        return arguments

    return bind
