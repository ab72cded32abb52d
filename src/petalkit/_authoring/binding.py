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
from typing import Any, Protocol

import attrs
import cattrs

from .._values.errors import ErrorCode, PayloadError, RegistrationError
from .._values.messages import Command
from .._values.structuring import CannotBuild, Node, Structure, Types, types_of
from .._values.types.hints import Unresolved, bind, lineage, resolve, type_name
from .._values.types.invalid import MAX_REPORTED_ERRORS, Problem, add_problems
from .._values.types.models.defaults import default_problem, renewed
from .._values.types.models.objects import MISSING
from .context import CommandContext
from .foreign import attribute_of
from .unknown_keys import UnknownKeys, UnknownKeysRule

Handler = Callable[..., Any]
Refuse = Callable[..., RegistrationError]
EMPTY = inspect.Parameter.empty
_Whole = tuple[str, Structure | None]
# Name, what makes it, whether it is required, and what makes its default anew, if that has to be.
_Fields = tuple[tuple[str, Structure | None, bool, Callable[[], Any] | None], ...]


class Caller(Protocol):
    """Whoever has arguments bound.

    Attributes:
        ignored: set to what was ignored, when something was.
    """

    ignored: tuple[Problem, ...]


class Binder(Protocol):
    """Makes the arguments of a command."""

    def __call__(
        self,
        command: Command,
        context: Callable[[], CommandContext],
        caller: Caller | None = None,
        /,
    ) -> dict[str, Any]:
        """The arguments.

        Raises:
            PayloadError: `data` does not fit.
        """
        ...


@attrs.frozen(kw_only=True)
class Parameter:
    """One parameter of a handler that is filled from `data`.

    Attributes:
        name: the key in `data`, or `"data"` for the whole of it.
        annotation: its type; `inspect.Parameter.empty` when it has none.
        required: whether the key must be there.
        default: used when the key is absent; `inspect.Parameter.empty` when it is required.
        whole: True when it takes the whole of `data`.
        node: what makes it from JSON; None when it is taken as it is.
    """

    name: str
    annotation: Any
    required: bool
    default: Any
    whole: bool = False
    node: Node | None = None


@attrs.frozen(kw_only=True, eq=False)
class Binding:
    """How a handler is called, and what it says of itself.

    Attributes:
        parameters: those that are filled from `data`.
        bind: makes the arguments of a command.
        known: the keys of `data` that it has a use for; None when it may have one for any.
        result: the annotation of what it returns; `EMPTY` when there is none that is known.
    """

    parameters: tuple[Parameter, ...]
    bind: Binder
    known: frozenset[str] | None
    result: Any = EMPTY


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


def _annotation(handler: Handler, name: str, annotation: Any) -> Any:
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


def make_binding(
    handler: Handler,
    converter: cattrs.Converter,
    refuse: Refuse,
    *,
    petal: str = "",
    unknown_keys: UnknownKeysRule = "ignore",
) -> Binding:
    """Resolve how a handler is called.

    Raises:
        RegistrationError: made by `refuse`; it cannot be.
    """
    context_name = command_name = None
    whole: Parameter | None = None
    fields: list[Parameter] = []
    types = types_of(converter)
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError) as error:
        raise refuse(f"has no signature that can be read: {error}") from error
    for parameter in signature.parameters.values():
        annotation = _checked_annotation(handler, parameter, refuse)
        if annotation is CommandContext:
            if context_name is not None:
                raise refuse("is a second CommandContext", parameter.name)
            context_name = parameter.name
        elif annotation is Command:
            if command_name is not None:
                raise refuse("is a second Command", parameter.name)
            command_name = parameter.name
        elif parameter.name == "data":
            whole = _parameter(parameter, annotation, types, refuse)
        else:
            fields.append(_parameter(parameter, annotation, types, refuse))
    known = None if command_name is not None else _known_keys(whole, fields)
    strange = None if known is None else UnknownKeys(known, unknown_keys, petal)
    parameters = tuple(fields) if whole is None else (*fields, whole)
    order = list(signature.parameters)
    return Binding(
        parameters=tuple(sorted(parameters, key=lambda one: order.index(one.name))),
        bind=_binder(
            context_name,
            command_name,
            None if whole is None else (whole.name, _structure(whole)),
            tuple(
                (one.name, _structure(one), one.required, renewed(one.default)) for one in fields
            ),
            strange,
        ),
        known=known,
        result=_result(handler, signature),
    )


def _checked_annotation(handler: Handler, parameter: inspect.Parameter, refuse: Refuse) -> Any:
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise refuse("is positional-only; arguments are passed by name", parameter.name)
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise refuse(
            "cannot be bound; take the whole of the arguments as `data: dict`", parameter.name
        )
    if parameter.annotation is EMPTY:
        return EMPTY
    try:
        annotation = _annotation(handler, parameter.name, parameter.annotation)
    except Unresolved as error:
        raise refuse(
            f"{error}; the type has to be importable where the module is, not only for type "
            "checkers",
            parameter.name,
        ) from error
    wanted = (CommandContext, Command)
    if annotation not in wanted and _mentions(annotation, wanted):
        raise refuse(
            "is annotated with more than CommandContext or Command; write that alone, "
            "or the sender would say what it is",
            parameter.name,
        )
    return annotation


def _parameter(
    parameter: inspect.Parameter, annotation: Any, types: Types, refuse: Refuse
) -> Parameter:
    node = None
    if annotation is not EMPTY:
        try:
            node = types.node(annotation)
        except CannotBuild as error:
            raise refuse(_cannot(annotation, error), parameter.name) from error
    is_whole = parameter.name == "data"
    if node is not None and not is_whole:  # that one is always there: `{}` when it is absent
        problem = default_problem(node, parameter.default)
        if problem is not None:
            raise refuse(problem, parameter.name)
    required = parameter.default is EMPTY
    return Parameter(
        name=parameter.name,
        annotation=annotation,
        required=required and not is_whole,
        default=parameter.default,
        whole=is_whole,
        node=node,
    )


def _cannot(annotation: Any, error: CannotBuild) -> str:
    """Where in the type, and what to write instead."""
    name = type_name(annotation)
    if not error.path:
        return error.reason
    return f"the type {name} cannot be made from JSON, at {name}{error.path}: {error.reason}"


def _structure(parameter: Parameter) -> Structure | None:
    node = parameter.node
    if node is None or (parameter.whole and parameter.annotation in (dict, Any, object)):
        return None
    return node.structure


def _known_keys(whole: Parameter | None, fields: list[Parameter]) -> frozenset[str] | None:
    names = frozenset(one.name for one in fields)
    if whole is None:
        return names
    if whole.node is None:
        return None
    for one in whole.node.members or (whole.node,):
        if one.keys is None or one.closed:  # it takes all, or refuses them itself
            return None
        names |= one.keys
    return names


def _result(handler: Handler, signature: inspect.Signature) -> Any:
    """What it returns. Not enforced, and so not refused either."""
    if signature.return_annotation is EMPTY:
        return EMPTY
    try:
        return _annotation(handler, "return", signature.return_annotation)
    except Unresolved:
        return EMPTY


def _mentions(annotation: Any, wanted: tuple[type, ...]) -> bool:
    return any(annotation is one for one in wanted) or any(
        _mentions(one, wanted) for one in _arguments(annotation)
    )


def _arguments(annotation: Any) -> tuple[Any, ...]:
    # A Literal's arguments are values, a Callable's first one is a list.
    origin: Any = typing.get_origin(annotation)
    return () if origin in (typing.Literal, Callable) else typing.get_args(annotation)


def _binder(
    context_name: str | None,
    command_name: str | None,
    whole: _Whole | None,
    fields: _Fields,
    strange: UnknownKeys | None,
) -> Binder:
    known = None if strange is None else strange.known

    def bind(
        command: Command,
        context: Callable[[], CommandContext],
        caller: Caller | None = None,
        /,
    ) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        data = command.data
        problems: list[Problem] = []
        if whole is not None:
            name, structure = whole
            try:
                arguments[name] = data if structure is None else structure(data)
            except Exception as error:
                add_problems(problems, "", error)
        for name, structure, required, default in fields:
            if name in data:
                try:
                    value = data[name]
                    arguments[name] = value if structure is None else structure(value)
                except Exception as error:
                    add_problems(problems, f".{name}", error)
            elif required:
                problems.append(Problem(f".{name}", MISSING, MISSING))
            elif default is not None:
                arguments[name] = default()
        if known is not None and not known.issuperset(data):
            assert strange is not None
            found = strange.judge(command)
            if strange.refuses:
                problems += found
            elif caller is not None:
                caller.ignored = tuple(found)
        if problems:
            raise invalid_data(problems)
        if context_name is not None:
            arguments[context_name] = context()
        if command_name is not None:
            arguments[command_name] = command
        return arguments

    return bind


def invalid_data(problems: list[Problem]) -> PayloadError:
    """What a sender is told whose `data` does not fit, and what the log is told."""
    problems = problems[:MAX_REPORTED_ERRORS]
    errors = [{"path": f"data{path}", "message": message} for path, message, _ in problems]
    text = "; ".join(f"{error['path']} {error['message']}" for error in errors)
    log = "; ".join(f"data{path} {reason}" for path, _, reason in problems)
    return PayloadError(ErrorCode.INVALID_DATA, text, errors, log=log)
