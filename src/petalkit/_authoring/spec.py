"""One command: its handler, how its parameters are bound, and what it was told.

Everything that can be resolved once is resolved when it is made: signatures, types, converter
hooks. What cannot be bound is refused there, with petal, method and parameter in the text, so that
a petal that starts is a petal whose every command can be called.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Literal

import attrs
import cattrs

from .._values.errors import RegistrationError
from .._values.structuring import Results, make_converter, results_of
from .declared import (
    RESERVED_PREFIX,
    CommandOptions,
    Declared,
    WhenBusy,
    check_name,
    check_options,
    full_name,
)
from .inspection.foreign import attribute_of, doc_of
from .inspection.handlers import Handler, check_kind
from .signature.binding import Binder, Parameter, make_binding
from .signature.returning import NOT_DECLARED, Returning
from .unknown_keys import UnknownKeysRule

_NO_FIELDS: Mapping[str, Any] = {}


@attrs.frozen
class PartOf:
    """What a command belongs to that no petal has written.

    Attributes:
        kind: of what: a job or a stream.
        name: its name in full; None for all streams of the petal.
        verb: what the command does with it.
    """

    kind: Literal["job", "stream"]
    name: str | None
    verb: str


@attrs.frozen(kw_only=True, eq=False)
class CommandSpec:
    """One command, ready to be called."""

    name: str
    petal: str
    method: str
    handler: Handler
    bind: Binder
    results: Results
    converter: cattrs.Converter
    parameters: tuple[Parameter, ...]
    doc: str
    timeout: float
    concurrency: int | None
    exclusive: str | None
    urgent: bool
    idempotent: bool
    thread: bool
    journal: bool = True
    when_busy: WhenBusy = "refuse"
    unknown_keys: UnknownKeysRule = "ignore"
    known_keys: frozenset[str] | None = None
    returning: Returning = NOT_DECLARED
    check_result: bool = True
    guessed: bool = False  # by a resolver: the petal may turn out not to serve it
    job: str | None = None  # the parameter that takes the `Job`
    part_of: PartOf | None = None

    @property
    def result(self) -> Any:
        """The annotation of its result; `EMPTY` when there is none that says anything."""
        return self.returning.annotation

    def result_fields(self, result: Any) -> Mapping[str, Any]:
        """The fields of the response that a handler's result stands for.

        Raises:
            PayloadError: HANDLER_ERROR, it is not what is declared.
        """
        check = self.returning.check
        if check is not None and type(result) not in self.returning.good:
            check(result)
        if result is None:
            return _NO_FIELDS
        if type(result) is dict:
            return self.results.of_dict(result)
        is_fields = isinstance(result, Mapping) or attrs.has(type(result))
        made = self.results(result)
        return made if is_fields and isinstance(made, Mapping) else {"result": made}

    def plain_details(self, details: Mapping[str, Any]) -> Mapping[str, Any]:
        """The details of an error, made as results are.

        Raises:
            Exception: a hook's or a mapping's own, or ValueError: two keys are one in JSON.
        """
        made = self.results(details)
        return made if isinstance(made, Mapping) else details


def make_spec(
    petal: Declared,
    options: CommandOptions,
    handler: Handler,
    *,
    unknown_keys: UnknownKeysRule = "ignore",
    is_job: bool = False,
    is_stream: bool = False,
) -> CommandSpec:
    """Check a handler and resolve how it is called.

    Args:
        petal: whose command it is.
        options: what `@command` was told.
        handler: what is called.
        unknown_keys: the rule when neither the command nor its petal has one.
        is_job: whether it is the method of a job.
        is_stream: whether it is that of a stream, which is called in ways of its own.

    Raises:
        RegistrationError: see there.
    """
    method = attribute_of(handler, "__qualname__") or type(handler).__qualname__

    def refuse(reason: str, parameter: str | None = None) -> RegistrationError:
        return RegistrationError(reason, petal=petal.name, method=method, parameter=parameter)

    if not isinstance(options.name, str):
        check_name(options.name, "command name", petal=petal.name, method=method)
    name = full_name(petal, options.name)
    check_name(name, "command name", petal=petal.name, method=method)
    if name.startswith(RESERVED_PREFIX + "/") and not petal.__petalkit_builtin__:
        raise refuse(f"the command names under {RESERVED_PREFIX + '/'!r} are reserved")
    check_options(options, refuse)
    if not is_stream:
        check_kind(handler, options.thread, refuse, is_job=is_job)
    converter = petal.converter or _default_converter()
    rule = options.unknown_keys or petal.unknown_keys or unknown_keys
    binding = make_binding(
        handler,
        converter,
        refuse,
        petal=petal.name,
        unknown_keys=rule,
        check_result=options.check_result,
        is_job=is_job,
    )
    return CommandSpec(
        name=name,
        petal=petal.name,
        method=method,
        handler=handler,
        bind=binding.bind,
        results=results_for(petal),
        converter=converter,
        parameters=binding.parameters,
        known_keys=binding.known,
        unknown_keys=rule,
        returning=binding.returning,
        check_result=options.check_result,
        doc=doc_of(handler),
        timeout=options.timeout,
        concurrency=options.concurrency,
        exclusive=options.exclusive,
        urgent=options.urgent,
        idempotent=options.idempotent,
        thread=options.thread,
        journal=options.journal,
        when_busy=options.when_busy,
        job=binding.job,
    )


def results_for(petal: Declared) -> Results:
    """What makes the values of a petal plain, with the hooks of its converter."""
    return results_of(petal.converter or _default_converter())


@functools.cache
def _default_converter() -> cattrs.Converter:
    return make_converter()
