"""The table of commands: every name, its handler, and how its parameters are bound.

Everything that can be resolved once is resolved when the table is built: signatures, types,
converter hooks. What cannot be bound is refused there, with petal, method and parameter in the
text, so that a petal that starts is a petal whose every command can be called.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import attrs
import cattrs

from .._values.errors import RegistrationError
from .._values.structuring import Results, make_converter, results_of
from .binding import Binder, Parameter, make_binding
from .declared import (
    MAX_NAME,
    RESERVED_PREFIX,
    CommandOptions,
    Declared,
    WhenBusy,
    check_name,
    check_options,
    check_petal,
    full_name,
)
from .inspection.foreign import attribute_of, doc_of
from .inspection.handlers import Handler, check_kind
from .returning import NOT_DECLARED, Returning
from .unknown_keys import UnknownKeysRule


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


class CommandResolver(Protocol):
    """Finds the commands of petals that cannot list them: some learn their own while they run.

    Attributes:
        name: stands where a petal's name does, for commands that none of them is known to serve.
            So these have slots of their own, and one petal's failure is not theirs.
    """

    name: str

    def resolve(self, name: str) -> CommandSpec | None:
        """The command of that name; None when none of these petals can have it.

        Asked for every command that the table does not know, so it has to be quick. What it
        returns may still find that nobody serves the name: see `NotServed`.
        """
        ...

    def names(self) -> Iterable[str]:
        """The names that are known now."""
        ...

    def prefixes(self) -> Iterable[str]:
        """What stands before the last slash of names that are theirs, known or not."""
        ...


class CommandSource(Declared, Protocol):
    """What the table needs of a petal."""

    __petalkit_resolver__: CommandResolver | None


_NO_FIELDS: Mapping[str, Any] = {}


class CommandTable:
    """The commands of all petals by name. A change takes effect with the next lookup.

    Attributes:
        resolvers: asked in turn for names that are not listed here.
    """

    def __init__(self) -> None:
        self._specs: dict[str, CommandSpec] = {}
        self.resolvers: list[CommandResolver] = []

    def add(self, spec: CommandSpec) -> None:
        """Add a command.

        Raises:
            RegistrationError: its name is taken.
        """
        other = self._specs.get(spec.name)
        if other is not None:
            raise RegistrationError(
                f"the command {spec.name!r} is already served by petal {other.petal!r}, "
                f"{other.method}()",
                petal=spec.petal,
                method=spec.method,
            )
        self._specs[spec.name] = spec

    def remove(self, name: str) -> CommandSpec:
        """Remove a command. Raises KeyError when there is none of that name."""
        return self._specs.pop(name)

    def lookup(self, name: str) -> CommandSpec | None:
        """The command of that name, None when no petal serves it."""
        spec = self._specs.get(name)
        if spec is None and self.resolvers:
            for resolver in self.resolvers:
                spec = resolver.resolve(name)
                if spec is not None:
                    break
        return spec

    def near(self, name: str) -> str | None:
        """A served name that a misspelt one may have meant."""
        found = difflib.get_close_matches(name[:MAX_NAME], self.public_names(), n=1)
        return found[0] if found else None

    def public_names(self) -> list[str]:
        """The names that petals serve, sorted, without petalkit's own."""
        names = {name for name in self._specs if not name.startswith(RESERVED_PREFIX + "/")}
        for resolver in self.resolvers:
            names.update(resolver.names())
        return sorted(names)

    def prefixes(self) -> set[str]:
        """What stands before the last slash of the names that petals serve."""
        found = {name.rpartition("/")[0] for name in self.public_names()}
        for resolver in self.resolvers:
            found.update(resolver.prefixes())
        return found

    def __iter__(self) -> Iterator[CommandSpec]:
        return iter(list(self._specs.values()))

    def __len__(self) -> int:
        return len(self._specs)


def build_table(
    petals: Sequence[CommandSource], *, unknown_keys: UnknownKeysRule = "ignore"
) -> CommandTable:
    """The table of the commands of these petals.

    Args:
        petals: whose.
        unknown_keys: the rule for those that say nothing of it.

    Raises:
        RegistrationError: see there; the first mistake found.
    """
    table = CommandTable()
    names: set[str] = set()
    for petal in petals:
        check_petal(petal)
        if petal.name in names:
            raise RegistrationError(
                "two petals have this name; rename one, or set `name` on the instance",
                petal=petal.name,
            )
        names.add(petal.name)
        for options, handler in petal.__petalkit_declared__():
            table.add(make_spec(petal, options, handler, unknown_keys=unknown_keys))
        resolver = petal.__petalkit_resolver__
        if resolver is not None and resolver not in table.resolvers:
            if any(resolver.name == other.name for other in table.resolvers):
                text = "is from another call of adapt(); give all its petals to one call"
                raise RegistrationError(text, petal=petal.name)
            table.resolvers.append(resolver)
    return table


def make_spec(
    petal: CommandSource,
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
        check_kind(handler, options.thread, refuse)
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


def results_for(petal: CommandSource) -> Results:
    """What makes the values of a petal plain, with the hooks of its converter."""
    return results_of(petal.converter or _default_converter())


@functools.cache
def _default_converter() -> cattrs.Converter:
    return make_converter()
