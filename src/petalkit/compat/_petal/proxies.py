"""The proxies of one petal, by name: the runtime's `mqtt`, and what the user supplies.

The rule: what is not there is an error that names it, where it is asked for. The host gives None,
and the petal finds out at midnight.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

from .._errors import ProxyNotAvailable

MQTT = "mqtt"
ProxyFactory = Callable[[], Any]
_RAISE: Any = object()


@attrs.frozen
class Supplies:
    """What the user supplies to all petals.

    Attributes:
        objects: by name, as they are; None for one that petals have to do without.
        factories: called once for each petal, in its loop.
    """

    objects: Mapping[str, Any] = attrs.field(factory=dict)
    factories: Mapping[str, ProxyFactory] = attrs.field(factory=dict)


class Proxies(Mapping[str, Any]):
    """See the module. What petals get by `inject_proxies`.

    Args:
        petal: its name.
        found: proxies by name; None for one that the petal has to do without.
        optional: names that the petal itself can do without.
    """

    def __init__(
        self, petal: str, found: Mapping[str, Any], optional: Callable[[], object]
    ) -> None:
        self._petal = petal
        self._found = {name: proxy for name, proxy in found.items() if proxy is not None}
        self._without = found.keys() - self._found.keys()
        self._optional = optional

    def __getitem__(self, name: str) -> Any:
        try:
            return self._found[name]
        except KeyError:
            raise self._missing(name) from None

    def get(self, name: str, default: Any = _RAISE) -> Any:
        """A proxy. One that is not there is an error, unless somebody has said what then.

        Raises:
            ProxyNotAvailable: it is not there, no default is given, the petal does not list it in
                `get_optional_proxies`, and the user has not said that it has to do without.
        """
        if name in self._found:
            return self._found[name]
        if default is not _RAISE:
            return default
        if name in self._without or self._is_optional(name):
            return None
        return self[name]

    def _is_optional(self, name: str) -> bool:
        try:
            names: Any = self._optional()
            return name in names
        except Exception:  # it is the petal's, and may need what is not there yet
            return False

    def made(self) -> dict[str, Any]:
        """Those that are there by now, without `mqtt`; none is made for it."""
        return {name: proxy for name, proxy in self._found.items() if name != MQTT}

    def _missing(self, *names: str) -> ProxyNotAvailable:
        refused = self._without.issuperset(names)
        available = tuple(sorted(self._found))
        return ProxyNotAvailable(names, self._petal, available, refused=refused)

    def require(self, names: Iterable[str]) -> None:
        """Raise ProxyNotAvailable unless they are there, or are to be done without."""
        missing = [name for name in names if name not in self._found and name not in self._without]
        if missing:
            raise self._missing(*missing)

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"<Proxies of {self._petal!r}: {', '.join(sorted(self._found))}>"


async def make_proxies(supplies: Supplies, made: dict[str, Any]) -> None:
    """Asyncio-flavored: make and start what comes from factories.

    Args:
        supplies: has the factories.
        made: each is put in as it is started, so that it is stopped whatever becomes of the next.
    """
    for name, make in supplies.factories.items():
        try:
            proxy = make()
            if inspect.isawaitable(proxy):
                proxy = await proxy
            await _call_if_there(proxy, "start")
        except Exception as error:
            text = f"the proxy {name!r} cannot be made: {type(error).__name__}: {error}"
            raise RuntimeError(text) from error
        made[name] = proxy


async def stop_proxy(proxy: Any) -> None:
    """Asyncio-flavored: stop one that came from a factory."""
    await _call_if_there(proxy, "stop")


async def _call_if_there(proxy: Any, name: str) -> None:
    method = getattr(proxy, name, None)
    if callable(method):
        result = method()
        if inspect.isawaitable(result):
            await result
