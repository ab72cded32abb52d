"""The commands that a petal adds and removes while it is served, which end with its lifespan.

The rule: a life begins with the commands that the petal had before it was served. The trap: while
a petal is down its added commands are known still, or their senders would be told that they do not
exist, and not to come again. So what a life has added stays until the next one has added its own.
Before the first life nobody knows what it will add: any name under the petal's prefix may be that.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from ..._authoring.declared import CommandOptions
from ..._authoring.petal import Petal, keep_added
from ..._authoring.registry import CommandSpec, CommandTable, make_spec
from ..dispatch.queueing.queue import Backlog


class AddedCommands:
    """See the module.

    Args:
        petal: whose commands.
        table: changed; has those of the start already.
        backlog: told of the changes.
    """

    def __init__(self, petal: Petal, table: CommandTable, backlog: Backlog) -> None:
        self._petal = petal
        self._table = table
        self._backlog = backlog
        self._first = petal.__petalkit_added__
        self._own = self._served()
        self._left_over: dict[str, CommandSpec] = {}  # of the life before, until this one is begun
        self._expected: _Expected | None = _Expected(petal)  # None once a life has begun

    def _served(self) -> dict[str, CommandSpec]:
        return {spec.name: spec for spec in self._table if spec.petal == self._petal.name}

    def add(self, spec: CommandSpec) -> None:
        """Serve one more.

        Raises:
            RegistrationError: its name is taken.
        """
        if spec.name in self._left_over:
            self._drop(self._left_over[spec.name])
        self._table.add(spec)
        self._backlog.serve(spec)

    def remove(self, name: str) -> None:
        """Serve one no longer.

        Raises:
            KeyError: this petal serves no command of that name, in full.
        """
        spec = self._served().get(name)
        if spec is None:
            raise KeyError(name)
        self._drop(spec)

    def _drop(self, spec: CommandSpec) -> None:
        self._left_over.pop(spec.name, None)
        self._backlog.unserve(self._table.remove(spec.name))

    def expect(self, *, comes: bool) -> None:
        """The petal is out of service; whether another life comes, which may be the first."""
        resolvers = self._table.resolvers
        if self._expected in resolvers:
            resolvers.remove(self._expected)
        if comes and self._expected is not None:
            resolvers.append(self._expected)

    def begin_again(self) -> None:
        """Another life begins."""
        keep_added(self._petal, self._first)
        served = self._served()
        for name, spec in served.items():
            if self._own.get(name) is not spec:
                self._left_over[name] = spec
        for name, spec in self._own.items():
            if served.get(name) is not spec:
                self.add(spec)

    def begun(self) -> None:
        """It has added what it adds at its start."""
        self.expect(comes=False)
        self._expected = None
        for spec in list(self._left_over.values()):
            self._drop(spec)

    def forget(self) -> None:
        """The petal is served no longer."""
        self.expect(comes=False)
        keep_added(self._petal, self._first)


class _Expected:
    """Stands for what a petal may add, so that nobody is told that it does not exist."""

    def __init__(self, petal: Petal) -> None:
        self.name = petal.name
        self._prefix = (petal.prefix or petal.name) + "/"
        spec = make_spec(petal, CommandOptions(name="to/come"), _is_never_called)
        self._template = attrs.evolve(spec, guessed=True)

    def resolve(self, name: str) -> CommandSpec | None:
        """See `CommandResolver`."""
        return attrs.evolve(self._template, name=name) if name.startswith(self._prefix) else None

    def names(self) -> Iterable[str]:
        """See `CommandResolver`; none is known."""
        return ()

    def prefixes(self) -> Iterable[str]:
        """See `CommandResolver`."""
        return (self._prefix[:-1],)


async def _is_never_called() -> None:
    """Its petal is out of service, and afterwards another stands in the table, or none."""
