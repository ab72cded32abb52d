"""How a handler's parameters are bound: resolved once, when the table of commands is built.

Signature, types and converter hooks are looked up here and never again. What cannot be bound is
refused with a text that says what to write instead, so that a petal that starts is a petal whose
every command can be called.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import attrs
import cattrs

from .._values.errors import ErrorCode, PayloadError
from .._values.messages import Command
from .._values.structuring import CannotBuild, Node, Structure, Types, types_of
from .._values.types.hints import Unresolved, type_name
from .._values.types.invalid import MAX_REPORTED_ERRORS, Problem, add_problems
from .._values.types.models.defaults import default_problem, renewed
from .._values.types.models.extra_keys import Extra, ExtraKeys, extra_keys
from .._values.types.models.objects import MISSING
from .._values.types.node import ANY_KIND, OBJECT
from .context import CommandContext
from .inspection.handlers import Handler, Refuse, annotation_of
from .returning import EMPTY as EMPTY
from .returning import Returning, returning
from .unknown_keys import UnknownKeys, UnknownKeysRule

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
        returning: what it returns.
    """

    parameters: tuple[Parameter, ...]
    bind: Binder
    known: frozenset[str] | None
    returning: Returning


def make_binding(
    handler: Handler,
    converter: cattrs.Converter,
    refuse: Refuse,
    *,
    petal: str = "",
    unknown_keys: UnknownKeysRule = "ignore",
    check_result: bool = True,
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
    raw = command_name is not None or (whole is not None and _is_raw(whole))
    strange = None if raw else UnknownKeys(known, unknown_keys, petal)
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
            Within(types.extra, tuple(parameters)),
        ),
        known=known,
        returning=returning(handler, signature, converter, refuse, enforced=check_result),
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
        annotation = annotation_of(handler, parameter.name, parameter.annotation)
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
    if is_whole and node is not None and OBJECT not in node.kinds:
        raise refuse(
            "takes the whole of the arguments, which is a JSON object and never "
            f"{type_name(annotation)}: write dict or a model; for one key of it, give the "
            "parameter the name of the key",
            parameter.name,
        )
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


def _is_raw(whole: Parameter) -> bool:
    """Whether the handler gets all that stands in `data`, and may read any key of it."""
    node = whole.node
    if node is None or _structure(whole) is None:
        return True
    return node.keys is None and any(one.kinds == ANY_KIND for one in node.parts)


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
    within: Within,
) -> Binder:
    known = None if strange is None else strange.known
    extra = within.extra

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
        if extra.seen or (known is not None and not known.issuperset(data)):
            extra.seen = False
            if strange is not None:
                found = strange.judge(command)
                found += strange.judge_within(command, within.find(data, arguments))
                if strange.refuses:
                    problems += found
                elif caller is not None:
                    caller.ignored = tuple(found[:MAX_REPORTED_ERRORS])
        if problems:
            raise invalid_data(problems)
        if context_name is not None:
            arguments[context_name] = context()
        if command_name is not None:
            arguments[command_name] = command
        return arguments

    return bind


class Within:
    """Finds the keys of models in the arguments that those do not have.

    Args:
        extra: told when there are some.
        parameters: what the arguments are made for.
    """

    def __init__(self, extra: ExtraKeys, parameters: tuple[Parameter, ...]) -> None:
        self.extra = extra
        self._typed = [
            (one.name, one.whole, one.node) for one in parameters if one.node is not None
        ]

    def find(self, data: Mapping[str, Any], arguments: Mapping[str, Any]) -> Iterator[Extra]:
        """Each of them, in the arguments that could be made."""
        for name, whole, node in self._typed:
            if name in arguments and (whole or name in data):
                raw, path = (data, "") if whole else (data[name], f".{name}")
                yield from extra_keys(node, raw, arguments[name], path, top=not whole)


def invalid_data(problems: list[Problem]) -> PayloadError:
    """What a sender is told whose `data` does not fit, and what the log is told."""
    problems = problems[:MAX_REPORTED_ERRORS]
    errors = [{"path": f"data{path}", "message": message} for path, message, _ in problems]
    text = "; ".join(f"{error['path']} {error['message']}" for error in errors)
    log = "; ".join(f"data{path} {reason}" for path, _, reason in problems)
    return PayloadError(ErrorCode.INVALID_DATA, text, errors, log=log)
