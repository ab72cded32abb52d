"""The table of commands: every name, its handler, and how its parameters are bound.

Everything that can be resolved once is resolved when the table is built: signatures, types,
converter hooks. What cannot be bound is refused there, with petal, method and parameter in the
text, so that a petal that starts is a petal whose every command can be called.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

import attrs
import cattrs

from .._values.errors import RegistrationError
from .._values.settings.settings import RESTART_POLICIES, RestartPolicy
from .._values.structuring import PetalConverter, Results, make_converter, results_of
from .binding import EMPTY, Binder, Handler, Parameter, Refuse, check_kind, make_binding
from .foreign import attribute_of, doc_of
from .unknown_keys import RULES, UnknownKeysRule

WhenBusy = Literal["refuse", "wait"]

RESERVED_PREFIX = "petalkit"
DEFAULT_TIMEOUT = 60.0  # seconds
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,63}")
_MAX_NAME = 200


@attrs.frozen(kw_only=True)
class CommandOptions:
    """What `@command` was told. See there for the meaning."""

    name: str
    timeout: float = DEFAULT_TIMEOUT
    concurrency: int | None = None
    exclusive: str | None = None
    urgent: bool = False
    idempotent: bool = False
    thread: bool = False
    journal: bool = True
    when_busy: WhenBusy = "refuse"
    unknown_keys: UnknownKeysRule | None = None


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
    result: Any = EMPTY
    guessed: bool = False  # by a resolver: the petal may turn out not to serve it

    def result_fields(self, result: Any) -> Mapping[str, Any]:
        """The fields of the response that a handler's result stands for."""
        if result is None:
            return _NO_FIELDS
        if type(result) is dict:
            return self.results.of_dict(result)
        is_fields = isinstance(result, Mapping) or attrs.has(type(result))
        made = self.results(result)
        return made if is_fields and isinstance(made, Mapping) else {"result": made}

    def plain_details(self, details: Mapping[str, Any]) -> Mapping[str, Any]:
        """The details of an error, made as results are; as they are when that fails."""
        try:
            made = self.results(details)
        except Exception:  # whoever encodes them says so in the log, and leaves them out
            return details
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


class CommandSource(Protocol):
    """What the table needs of a petal."""

    name: str
    version: str
    prefix: str | None
    converter: cattrs.Converter | None
    restart_policy: RestartPolicy | None
    unknown_keys: UnknownKeysRule | None
    __petalkit_resolver__: CommandResolver | None
    __petalkit_builtin__: ClassVar[bool]

    def __petalkit_declared__(self) -> Iterator[tuple[CommandOptions, Handler]]:
        """Every command with its handler."""
        ...


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
        found = difflib.get_close_matches(name[:_MAX_NAME], self.public_names(), n=1)
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


def check_petal(petal: CommandSource) -> None:
    """Refuse a petal whose own attributes cannot be used.

    Raises:
        RegistrationError: bad name, version, prefix or lifespan.
    """
    if isinstance(petal, type):
        cls = petal.__qualname__
        raise RegistrationError(f"is a class; give an instance: {cls}()", petal=cls)
    cls = type(petal).__qualname__
    for attribute in _OWN_ATTRIBUTES:
        _check_readable(petal, attribute, cls)
    name: object = getattr(petal, "name", None)
    if not isinstance(name, str) or not name:
        raise RegistrationError(f'class {cls} has no name: write name = "my-petal"', petal=cls)
    if not _SEGMENT.fullmatch(name):
        raise RegistrationError(
            "the name may have letters, digits, '_', '-' and '.', 64 at most", petal=name
        )
    if not isinstance(petal.version, str):
        raise RegistrationError("version must be a string", petal=name)
    converter: object = petal.converter
    if converter is not None and not isinstance(converter, cattrs.Converter):
        text = "is petalkit's own name, for a cattrs.Converter; give the attribute another"
        raise RegistrationError(f"'converter' {text}", petal=name)
    if converter is not None and not isinstance(converter, PetalConverter):
        raise RegistrationError(
            "the converter has to be one of petalkit.make_converter(), and hooks are registered on "
            'that: any other takes "false" for True',
            petal=name,
        )
    if petal.unknown_keys not in (None, *RULES):
        raise RegistrationError(
            f"unknown_keys must be 'ignore' or 'refuse', not {petal.unknown_keys!r}", petal=name
        )
    if petal.prefix is not None:
        _check_name(petal.prefix, "prefix", petal=name, method=None)
    if (petal.prefix or name).split("/", 1)[
        0
    ] == RESERVED_PREFIX and not petal.__petalkit_builtin__:
        raise RegistrationError(f"{RESERVED_PREFIX!r} is reserved", petal=name)
    policy: object = petal.restart_policy
    if policy not in (None, *RESTART_POLICIES):
        choices = " or ".join(map(repr, RESTART_POLICIES))
        raise RegistrationError(f"restart_policy must be {choices}, not {policy!r}", petal=name)
    lifespan = inspect.getattr_static(type(petal), "lifespan")
    if inspect.isasyncgenfunction(lifespan) or inspect.iscoroutinefunction(lifespan):
        raise RegistrationError(
            "write @contextlib.asynccontextmanager over it", petal=name, method="lifespan"
        )


# What is read of a petal, here and later.
_OWN_ATTRIBUTES = ("name", "version", "prefix", "converter", "unknown_keys", "restart_policy")


def _check_readable(petal: CommandSource, attribute: str, cls: str) -> None:
    """A property of the petal's own is its own code: what it raises is its mistake alone."""
    try:
        getattr(petal, attribute, None)
    except Exception as error:
        text = f"reading its {attribute!r} raises {type(error).__name__}; make it a plain attribute"
        raise RegistrationError(text, petal=cls) from error


def _check_name(name: object, what: str, *, petal: str, method: str | None) -> None:
    if not isinstance(name, str):
        raise RegistrationError(
            f"the {what} must be a string, not {name!r}", petal=petal, method=method
        )
    bad = next((part for part in name.split("/") if not _SEGMENT.fullmatch(part)), None)
    if bad is not None or len(name) > _MAX_NAME:
        raise RegistrationError(
            f"the {what} {name!r} cannot be used: between slashes it may have letters, digits, "
            f"'_', '-' and '.', {_MAX_NAME} in all",
            petal=petal,
            method=method,
        )


def full_name(petal: CommandSource, name: str) -> str:
    """A command's name on the wire: with the petal's prefix unless it has a slash."""
    return name if "/" in name else f"{petal.prefix or petal.name}/{name}"


def make_spec(
    petal: CommandSource,
    options: CommandOptions,
    handler: Handler,
    *,
    unknown_keys: UnknownKeysRule = "ignore",
) -> CommandSpec:
    """Check a handler and resolve how it is called.

    Args:
        petal: whose command it is.
        options: what `@command` was told.
        handler: what is called.
        unknown_keys: the rule when neither the command nor its petal has one.

    Raises:
        RegistrationError: see there.
    """
    method = attribute_of(handler, "__qualname__") or type(handler).__qualname__

    def refuse(reason: str, parameter: str | None = None) -> RegistrationError:
        return RegistrationError(reason, petal=petal.name, method=method, parameter=parameter)

    if not isinstance(options.name, str):
        _check_name(options.name, "command name", petal=petal.name, method=method)
    name = full_name(petal, options.name)
    _check_name(name, "command name", petal=petal.name, method=method)
    if name.startswith(RESERVED_PREFIX + "/") and not petal.__petalkit_builtin__:
        raise refuse(f"the command names under {RESERVED_PREFIX + '/'!r} are reserved")
    _check_options(options, refuse)
    check_kind(handler, options.thread, refuse)
    converter = petal.converter or _default_converter()
    rule = options.unknown_keys or petal.unknown_keys or unknown_keys
    binding = make_binding(handler, converter, refuse, petal=petal.name, unknown_keys=rule)
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
        result=binding.result,
        doc=doc_of(handler),
        timeout=options.timeout,
        concurrency=options.concurrency,
        exclusive=options.exclusive,
        urgent=options.urgent,
        idempotent=options.idempotent,
        thread=options.thread,
        journal=options.journal,
        when_busy=options.when_busy,
    )


def results_for(petal: CommandSource) -> Results:
    """What makes the values of a petal plain, with the hooks of its converter."""
    return results_of(petal.converter or _default_converter())


@functools.cache
def _default_converter() -> cattrs.Converter:
    return make_converter()


def _check_options(options: CommandOptions, refuse: Refuse) -> None:
    timeout: object = options.timeout
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise refuse(f"timeout must be seconds above 0 or math.inf, not {timeout!r}")
    concurrency: object = options.concurrency
    if concurrency is not None and (type(concurrency) is not int or concurrency < 1):
        raise refuse(f"concurrency must be a whole number above 0, not {concurrency!r}")
    exclusive: object = options.exclusive
    if exclusive is not None and not (isinstance(exclusive, str) and exclusive):
        raise refuse(f"exclusive must be the name of a group, not {exclusive!r}")
    when_busy: object = options.when_busy
    if when_busy not in ("refuse", "wait"):
        raise refuse(f"when_busy must be 'refuse' or 'wait', not {when_busy!r}")
    if when_busy == "wait" and exclusive is None:
        raise refuse("when_busy='wait' needs the exclusive group for which to wait")
    if options.unknown_keys not in (None, *RULES):
        raise refuse(f"unknown_keys must be 'ignore' or 'refuse', not {options.unknown_keys!r}")
    if options.urgent and (concurrency is not None or exclusive is not None):
        raise refuse(
            "urgent passes every limit, so it cannot have concurrency or exclusive beside it"
        )
