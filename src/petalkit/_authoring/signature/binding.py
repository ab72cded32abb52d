"""How a handler's parameters are bound: resolved once, when the table of commands is built.

Signature, types and converter hooks are looked up here and never again. What cannot be bound is
refused with a text that says what to write instead, so that a petal that starts is a petal whose
every command can be called.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

import attrs
import cattrs

from ..._values.messages import Command
from ..._values.structuring import CannotBuild, Types, types_of
from ..._values.types.hints import Unresolved, type_name
from ..._values.types.models.defaults import default_problem, renewed
from ..._values.types.node import ANY_KIND, OBJECT
from ..context import CommandContext
from ..inspection.handlers import Handler, Refuse, annotation_of
from ..jobs.handle import Job
from ..unknown_keys import UnknownKeys, UnknownKeysRule
from .arguments import Binder as Binder
from .arguments import Parameter as Parameter
from .arguments import Within, binder, structure_of
from .returning import EMPTY as EMPTY
from .returning import Returning, returning


@attrs.frozen(kw_only=True, eq=False)
class Binding:
    """How a handler is called, and what it says of itself.

    Attributes:
        parameters: those that are filled from `data`.
        bind: makes the arguments of a command.
        known: the keys of `data` that it has a use for; None when it may have one for any.
        returning: what it returns.
        job: the name of the parameter that takes the `Job`; None when none does.
    """

    parameters: tuple[Parameter, ...]
    bind: Binder
    known: frozenset[str] | None
    returning: Returning
    job: str | None = None


def make_binding(
    handler: Handler,
    converter: cattrs.Converter,
    refuse: Refuse,
    *,
    petal: str = "",
    unknown_keys: UnknownKeysRule = "ignore",
    check_result: bool = True,
    is_job: bool = False,
) -> Binding:
    """Resolve how a handler is called.

    Of a job's method the arguments have no `Job`: that is made when it runs.

    Raises:
        RegistrationError: made by `refuse`; it cannot be.
    """
    context_name = command_name = job_name = None
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
        elif annotation is Job:
            if not is_job or job_name is not None:
                text = "is for methods under @job only, which cannot be added while the petal runs"
                raise refuse("is a second Job" if is_job else text, parameter.name)
            job_name = parameter.name
        elif is_job and parameter.name == "job" and parameter.annotation is EMPTY:
            text = "has no type: write job: Job, or its type if the sender says what it is"
            raise refuse(text, parameter.name)
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
        bind=binder(
            context_name,
            command_name,
            None if whole is None else (whole.name, structure_of(whole)),
            tuple(
                (one.name, structure_of(one), one.required, renewed(one.default)) for one in fields
            ),
            strange,
            Within(types.extra, tuple(parameters)),
        ),
        known=known,
        returning=returning(
            handler,
            signature,
            converter,
            refuse,
            enforced=check_result,
            yields=inspect.isasyncgenfunction(handler),
        ),
        job=job_name,
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
    wanted = (CommandContext, Command, Job)
    if annotation not in wanted and _mentions(annotation, wanted):
        raise refuse(
            "is annotated with more than CommandContext, Command or Job; write that alone, "
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


def _is_raw(whole: Parameter) -> bool:
    """Whether the handler gets all that stands in `data`, and may read any key of it."""
    node = whole.node
    if node is None or structure_of(whole) is None:
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
