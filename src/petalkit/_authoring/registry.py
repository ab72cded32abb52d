"""The table of commands: every name that is served, and its command.

What can be said of all names together is made ready once for each change of the table, because a
sender chooses how often it is asked for names that nobody serves.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from .._values.basics.near import NameIndex
from .._values.errors import RegistrationError
from .declared import RESERVED_PREFIX, Declared, check_petal
from .spec import CommandSpec as CommandSpec
from .spec import make_spec as make_spec
from .spec import results_for as results_for
from .unknown_keys import UnknownKeysRule


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


class CommandTable:
    """The commands of all petals by name. A change takes effect with the next lookup.

    Attributes:
        resolvers: asked in turn for names that are not listed here.
    """

    def __init__(self) -> None:
        self._specs: dict[str, CommandSpec] = {}
        self.resolvers: list[CommandResolver] = []
        self._names: _Names | None = None  # made when it is asked for, after a change

    def add(self, spec: CommandSpec) -> None:
        """Add a command.

        Raises:
            RegistrationError: its name is taken.
        """
        other = self._specs.get(spec.name)
        if other is not None and (other.petal, other.method) == (spec.petal, spec.method):
            raise RegistrationError(
                f"has two @command or @job for the name {spec.name!r}; leave one",
                petal=spec.petal,
                method=spec.method,
            )
        if other is not None:
            raise RegistrationError(
                f"the command {spec.name!r} is already served by petal {other.petal!r}, "
                f"{other.method}()",
                petal=spec.petal,
                method=spec.method,
            )
        self._specs[spec.name] = spec
        self._names = None

    def remove(self, name: str) -> CommandSpec:
        """Remove a command. Raises KeyError when there is none of that name."""
        spec = self._specs.pop(name)
        self._names = None
        return spec

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
        return self._known().index.near(name)

    @property
    def edition(self) -> object:
        """Another object after every change of what is served."""
        return self._known()

    def public_names(self) -> list[str]:
        """The names that petals serve, sorted, without petalkit's own."""
        return list(self._known().all)

    def some_names(self, name: str) -> tuple[Sequence[str], int]:
        """As many public names as an answer has room for, and how many were left out.

        Args:
            name: what was asked for; of more than there is room for, those of its prefix.
        """
        names = self._known()
        return names.some(name.rpartition("/")[0])

    def prefixes(self) -> set[str]:
        """What stands before the last slash of the names that petals serve."""
        found = set(self._known().prefixes)
        for resolver in self.resolvers:
            found.update(resolver.prefixes())
        return found

    def is_under_prefix(self, name: str) -> bool:
        """Whether a name stands under one of `prefixes()`."""
        place = name.rfind("/")
        own = self._known().prefixes
        while place > 0:
            if name[:place] in own:
                return True
            place = name.rfind("/", 0, place)
        return any(
            name.startswith(prefix + "/")
            for resolver in self.resolvers
            for prefix in resolver.prefixes()
        )

    def _known(self) -> _Names:
        # Resolvers do not tell when they learn another name.
        others = [name for resolver in self.resolvers for name in resolver.names()]
        names = self._names
        if names is None or names.others != others:
            names = self._names = _Names(self._specs, others)
        return names

    def __iter__(self) -> Iterator[CommandSpec]:
        return iter(list(self._specs.values()))

    def __len__(self) -> int:
        return len(self._specs)


MAX_LISTED = 4096  # bytes of names in an answer


class _Names:
    """The public names, and what is looked for among them."""

    def __init__(self, names: Iterable[str], others: list[str]) -> None:
        own = {name for name in names if not name.startswith(RESERVED_PREFIX + "/")}
        self.others = others
        self.all = sorted(own.union(others))
        self.prefixes = frozenset(name.rpartition("/")[0] for name in self.all)
        self.index = NameIndex(self.all)
        self._some: dict[str, tuple[Sequence[str], int]] = {}

    def some(self, prefix: str) -> tuple[Sequence[str], int]:
        """See `CommandTable.some_names`."""
        if prefix not in self.prefixes:
            prefix = ""
        found = self._some.get(prefix)
        if found is None:
            listed, left = self._fitting(prefix), len(self.all)
            found = self._some[prefix] = (listed, left - len(listed))
        return found

    def _fitting(self, prefix: str) -> Sequence[str]:
        first = bisect.bisect_left(self.all, prefix + "/") if prefix else 0
        listed: list[str] = []
        room = MAX_LISTED
        for name in (*self.all[first:], *self.all[:first]):
            room -= len(name) + 3  # quotes and a comma
            if room < 0:
                break
            listed.append(name)
        return sorted(listed)


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
