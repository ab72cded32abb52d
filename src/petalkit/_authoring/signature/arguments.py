"""The arguments of a command, made of its `data` by what was resolved when the table was built."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import attrs

from ..._values.errors import ErrorCode, PayloadError
from ..._values.messages import Command
from ..._values.structuring import Node, Structure
from ..._values.types.invalid import MAX_REPORTED_ERRORS, Problem, add_problems, short_path
from ..._values.types.models.extra_keys import Extra, ExtraKeys, extra_keys
from ..._values.types.models.objects import MISSING
from ..context import CommandContext
from ..unknown_keys import UnknownKeys
from .returning import EMPTY as EMPTY

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


def structure_of(parameter: Parameter) -> Structure | None:
    """What makes it; None when it is taken as it is."""
    node = parameter.node
    if node is None or (parameter.whole and parameter.annotation in (dict, Any, object)):
        return None
    return node.structure


def binder(
    context_name: str | None,
    command_name: str | None,
    whole: _Whole | None,
    fields: _Fields,
    strange: UnknownKeys | None,
    within: Within,
) -> Binder:
    """What makes the arguments of a command."""
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
    problems = [one._replace(path=short_path(one.path)) for one in problems[:MAX_REPORTED_ERRORS]]
    errors = [{"path": f"data{path}", "message": message} for path, message, _ in problems]
    text = "; ".join(f"{error['path']} {error['message']}" for error in errors)
    log = "; ".join(f"data{path} {reason}" for path, _, reason in problems)
    return PayloadError(ErrorCode.INVALID_DATA, text, errors, log=log)
