"""What a handler declares that it returns: enforced, or refused when the table is built.

The rule is that of arguments: what callers are told of a result, by `petalkit list` and its JSON
Schema, is what they get. `check_result=False` makes of the annotation what it is for Python.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from typing import Any

import attrs
import cattrs

from ..._values.errors import ErrorCode, PayloadError
from ..._values.structuring import CannotBuild, result_types_of
from ..._values.types.checking import result_check
from ..._values.types.hints import Unresolved, type_name
from ..context import OwnWords
from ..inspection.handlers import Handler, Refuse, annotation_of

EMPTY = inspect.Parameter.empty


@attrs.frozen(kw_only=True, eq=False)
class Returning:
    """What is known of a result.

    Attributes:
        annotation: of the result; `EMPTY` when there is none, or none that says anything.
        good: classes of which every result is good.
        check: raises what is wrong with one of another; None when every result is good.
    """

    annotation: Any = EMPTY
    good: frozenset[type] = frozenset()
    check: Callable[[Any], None] | None = None


NOT_DECLARED = Returning()
_OF_GENERATORS = (AsyncGenerator, AsyncIterator, AsyncIterable)


def returning(
    handler: Handler,
    signature: inspect.Signature,
    converter: cattrs.Converter,
    refuse: Refuse,
    *,
    enforced: bool,
    yields: bool = False,
) -> Returning:
    """Resolve what a handler returns; of an async generator what it yields, one at a time.

    Raises:
        RegistrationError: made by `refuse`; it is enforced, and has no JSON.
    """
    if signature.return_annotation is EMPTY:
        return Returning()
    try:
        annotation = annotation_of(handler, "return", signature.return_annotation)
    except Unresolved as error:
        if enforced:
            raise refuse(f"the type of its result is not known: {error}; {_ELSE}") from error
        return Returning()
    if yields and typing.get_origin(annotation) in _OF_GENERATORS:
        annotation = typing.get_args(annotation)[0]
    elif yields and annotation in _OF_GENERATORS:
        return Returning()
    if annotation in (typing.NoReturn, typing.Never, OwnWords):
        return Returning()
    if not enforced:
        return Returning(annotation=annotation)
    name = type_name(annotation)
    try:
        check = result_check(result_types_of(converter).node(annotation))
    except CannotBuild as error:
        at = f", at {name}{error.path}" if error.path else ""
        raise refuse(f"its result cannot be {name}{at}: {error.reason}; {_ELSE}") from error
    if check is None:
        return Returning(annotation=annotation)
    find = check.find

    def enforce(result: Any) -> None:
        found = find(result)
        if found is not None:
            raise PayloadError(
                ErrorCode.HANDLER_ERROR, f"the result is declared as {name}, and {_told(found)}"
            )

    return Returning(annotation=annotation, good=check.exact, check=enforce)


_ELSE = "or write check_result=False, and nothing is checked"


def _told(found: str) -> str:
    return found if found.startswith((".", "[")) else f"it {found}"
