"""The proxies of one petal, by name: the runtime's `mqtt`, and what the user supplies.

The rule: what is not there is an error that names it where the petal insists: in `[...]`, and in
`get_required_proxies()`. `.get()` gives None, as the host does, and one WARNING says to whom: a
petal may ask for what no host has, and never use it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..._authoring.context import log_scope
from .._errors import ProxyNotAvailable, how_to_supply
from .shelf import Shelf

logger = logging.getLogger("petalkit.compat")

MQTT = "mqtt"
TOLD_MAX = 1000  # names of missing proxies that a petal is remembered to have asked for
_NOT_GIVEN: Any = object()


class Proxies(Mapping[str, Any]):
    """See the module. What petals get by `inject_proxies`.

    Args:
        petal: its name.
        found: proxies by name; None for one that the petal has to do without.
        shelves: make the others.
        optional: names that the petal itself can do without.
    """

    def __init__(
        self,
        petal: str,
        found: Mapping[str, Any],
        shelves: Sequence[Shelf],
        optional: Callable[[], object],
    ) -> None:
        self._petal = petal
        self._found = {name: proxy for name, proxy in found.items() if proxy is not None}
        self._without = found.keys() - self._found.keys()
        self._shelves = {name: shelf for shelf in shelves for name in shelf.factories}
        self._names = self._found.keys() | self._shelves.keys()
        self._optional = optional
        self._told: set[str] = set()  # names that were asked for in vain

    def _find(self, name: str) -> Any:
        """A proxy, which may be made now; None when it is not there."""
        found = self._found.get(name)
        if found is None and name in self._shelves:
            found = self._shelves[name].get(name)
        return found

    def __getitem__(self, name: str) -> Any:
        found = self._find(name)
        if found is None:
            raise self._missing(name)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._names  # which makes none

    def get(self, name: str, default: Any = _NOT_GIVEN) -> Any:
        """A proxy; the default, or None, where it is not there.

        That is logged once for each name, unless somebody has said what then: the petal by a
        default or in `get_optional_proxies`, or the user, that petals have to do without.
        """
        found = self._find(name)
        if found is not None:
            return found
        if default is not _NOT_GIVEN:
            return default
        if name not in self._without and not self._is_optional(name):
            self._tell(name)
        return None

    def _tell(self, name: str) -> None:
        if name in self._told:
            return
        # Made-up names of a sender are no proxies, and need no memory.
        if len(self._told) < TOLD_MAX:
            self._told.add(name)
        scope = log_scope.get()
        fields = {} if scope is None else scope.log_fields()
        command = fields.get("command")
        where = f"in {command}" if command else "outside of a command"
        logger.warning(
            "petal %r asks for the proxy %r %s, which is not there (there are: %s): it gets None. "
            "%s",
            self._petal,
            name,
            where,
            ", ".join(sorted(self._names)),
            how_to_supply(name),
            extra={**fields, "petal": self._petal},
        )

    def _is_optional(self, name: str) -> bool:
        try:
            names: Any = self._optional()
            return name in names
        except Exception:  # it is the petal's, and may need what is not there yet
            return False

    def made(self) -> dict[str, Any]:
        """Those that are there by now, without `mqtt`; none is made for it."""
        found = {name: proxy for name, proxy in self._found.items() if name != MQTT}
        for shelf in dict.fromkeys(self._shelves.values()):
            found |= shelf.made()
        return found

    def _missing(self, *names: str) -> ProxyNotAvailable:
        refused = self._without.issuperset(names)
        available = tuple(sorted(self._names))
        return ProxyNotAvailable(names, self._petal, available, refused=refused)

    def require(self, names: Iterable[str]) -> None:
        """Raise ProxyNotAvailable unless they are there, or are to be done without."""
        missing = [name for name in names if name not in self._names | self._without]
        if missing:
            raise self._missing(*missing)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"<Proxies of {self._petal!r}: {', '.join(sorted(self._names))}>"
