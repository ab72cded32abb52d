"""What a petal and its decorators say of themselves, and the refusal of what cannot be used.

The rule: whatever can be told when the table is built is told there, with what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Literal, Protocol

import attrs
import cattrs

from .._values.errors import RegistrationError
from .._values.settings.settings import RESTART_POLICIES, RestartPolicy
from .._values.structuring import PetalConverter
from .inspection.foreign import attribute_of
from .inspection.handlers import Handler, Refuse
from .inspection.mistakes import check_spelling, lifespan_objection
from .unknown_keys import RULES, UnknownKeysRule

WhenBusy = Literal["refuse", "wait"]

RESERVED_PREFIX = "petalkit"
DEFAULT_TIMEOUT = 60.0  # seconds
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,63}")
MAX_NAME = 200


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
    check_result: bool = True


class Declared(Protocol):
    """What a petal says of itself."""

    name: str
    version: str
    prefix: str | None
    converter: cattrs.Converter | None
    restart_policy: RestartPolicy | None
    unknown_keys: UnknownKeysRule | None
    __petalkit_builtin__: ClassVar[bool]

    def __petalkit_declared__(self) -> Iterator[tuple[CommandOptions, Handler]]:
        """Every command with its handler."""
        ...


def check_petal(petal: Declared) -> None:
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
    name: object = attribute_of(petal, "name")
    check_spelling(petal, name if name and isinstance(name, str) else cls, _OWN_ATTRIBUTES)
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
        check_name(petal.prefix, "prefix", petal=name, method=None)
    if (petal.prefix or name).split("/", 1)[
        0
    ] == RESERVED_PREFIX and not petal.__petalkit_builtin__:
        raise RegistrationError(f"{RESERVED_PREFIX!r} is reserved", petal=name)
    policy: object = petal.restart_policy
    if policy not in (None, *RESTART_POLICIES):
        choices = " or ".join(map(repr, RESTART_POLICIES))
        raise RegistrationError(f"restart_policy must be {choices}, not {policy!r}", petal=name)
    objection = lifespan_objection(petal)
    if objection is not None:
        raise RegistrationError(objection, petal=name, method="lifespan")


# What is read of a petal, here and later.
_OWN_ATTRIBUTES = ("name", "version", "prefix", "converter", "unknown_keys", "restart_policy")


def _check_readable(petal: Declared, attribute: str, cls: str) -> None:
    """A property of the petal's own is its own code: what it raises is its mistake alone."""
    try:
        getattr(petal, attribute, None)
    except Exception as error:
        text = f"reading its {attribute!r} raises {type(error).__name__}; make it a plain attribute"
        raise RegistrationError(text, petal=cls) from error


def check_name(name: object, what: str, *, petal: str, method: str | None) -> None:
    if not isinstance(name, str):
        raise RegistrationError(
            f"the {what} must be a string, not {name!r}", petal=petal, method=method
        )
    bad = next((part for part in name.split("/") if not _SEGMENT.fullmatch(part)), None)
    if bad is not None or len(name) > MAX_NAME:
        raise RegistrationError(
            f"the {what} {name!r} cannot be used: between slashes it may have letters, digits, "
            f"'_', '-' and '.', {MAX_NAME} in all",
            petal=petal,
            method=method,
        )


def full_name(petal: Declared, name: str) -> str:
    """A command's name on the wire: with the petal's prefix unless it has a slash."""
    return name if "/" in name else f"{petal.prefix or petal.name}/{name}"


def check_options(options: CommandOptions, refuse: Refuse) -> None:
    """Refuse what `@command` was told and cannot be done.

    Raises:
        RegistrationError: made by `refuse`.
    """
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
