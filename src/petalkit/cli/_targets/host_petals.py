"""Petals of the guide's host application on the command line: `--host-compat` and `--host-proxy`.

They are known by their hooks, so that one which derives from nothing of ours is found too. compat
is imported only when it is asked for: it brings asyncio along.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ..._authoring.inspection.foreign import attribute_of, doc_of, is_abstract, is_class
from ..._authoring.petal import Petal
from ..._values.settings.settings import Settings
from .._errors import UsageError
from .importing import attribute, import_place
from .places import is_file, split_target

WITHOUT = "none"  # a proxy that petals have to do without
_HOOKS = ("inject_proxies", "startup", "async_startup")
_OWN_PROXY = "mqtt"


def is_host_petal(value: Any) -> bool:
    """Whether a class, or an instance, has the hooks of the host's petals."""
    return all(callable(attribute_of(value, hook)) for hook in _HOOKS)


@attrs.frozen
class HostPetals:
    """How petals of the host are served: with which proxies.

    Attributes:
        proxies: objects by name, None where petals have to do without.
        factories: callables by name, called once for each petal.
    """

    proxies: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    factories: Mapping[str, Callable[[], Any]] = attrs.field(factory=dict[str, Any])

    def adapt(self, petals: Sequence[Any]) -> Sequence[Petal]:
        """Wrap petals of the host, in their order, so that the runtime can serve them."""
        if not petals:
            return ()
        from ...compat import adapt

        return adapt(*petals, proxies=self.proxies, proxy_factories=self.factories)


@attrs.frozen
class ProxyTarget:
    """What a proxy is loaded from.

    Attributes:
        target: `module:name`, `path/to/file.py:name`, or `none`.
        where: it was given, for error texts.
        folder: what a relative path is relative to; None: the current directory.
    """

    target: str
    where: str
    folder: Path | None = None


def open_host(proxies: Mapping[str, ProxyTarget]) -> HostPetals:
    """Make the host's names importable, and load the proxies.

    Raises:
        UsageError: the real host is installed here, or a proxy cannot be loaded.
    """
    from ...compat import HostInstalled, install

    try:
        install()
    except HostInstalled as error:
        raise UsageError(str(error)) from None
    objects: dict[str, Any] = {}
    factories: dict[str, Callable[[], Any]] = {}
    for name, proxy in proxies.items():
        found = _load_proxy(name, proxy)
        if is_class(found) or _is_routine(found):
            factories[name] = found
        else:
            objects[name] = found
    return HostPetals(objects, factories)


def _is_routine(found: Any) -> bool:
    try:
        return inspect.isroutine(found) or isinstance(found, functools.partial)
    except Exception:  # it asks the object, which is somebody's
        return False


def _load_proxy(name: str, proxy: ProxyTarget) -> Any:
    """An object, or a callable that makes one; None for one to do without."""
    target = proxy.target
    try:
        if name == _OWN_PROXY:
            raise UsageError("this proxy is petalkit's own")
        if target == WITHOUT:
            return None
        place, attribute_name = split_target(target)
        if not attribute_name:
            raise UsageError(f"write module:name, or {WITHOUT}, not {target!r}")
        if proxy.folder is not None and is_file(place):
            place = str(proxy.folder / place)
        found = attribute(import_place(place, target), attribute_name, target)
        if is_abstract(found):
            raise UsageError(f"{target!r} is abstract: no proxy can be made of it")
    except UsageError as error:
        raise UsageError(f"{proxy.where}: {error.message}", details=error.details) from None
    return found


def petal_name(petal: Any) -> str:
    """The name of a petal, ours or the host's; that of the class where there is none."""
    name: object = attribute_of(petal, "name")
    return name if isinstance(name, str) and name else type(petal).__name__


# -- what is known of a petal without running it


@attrs.frozen
class HostCommand:
    """A command of a petal of the host.

    Attributes:
        name: in full.
        doc: the handler's docstring.
        thread: whether it runs in a thread.
    """

    name: str
    doc: str
    thread: bool = False


def known_commands(petal: Any) -> tuple[list[HostCommand], bool]:
    """What a petal of the host serves, as far as it can be known; and whether that is all.

    The petal's own code is called, which may rely on a start that has not been: its errors mean
    that the rest is known when it runs.
    """
    found: dict[str, HostCommand] = {}
    complete = True
    try:
        handlers, heavy = _call(petal, "_collect_mqtt_actions") or ({}, {})
        for name, handler in handlers.items():
            found[name] = HostCommand(name, _doc(handler), bool(heavy.get(name)))
        complete = not handlers  # more may be attached at run time, and often are
    except Exception:
        complete = False
    try:
        table = _call(petal, "_setup_command_handlers")
        if table is None:
            complete = complete and (bool(found) or not getattr(petal, "use_mqtt_proxy", False))
        else:
            for name, handler in table.items():
                found[str(name)] = HostCommand(str(name), _doc(handler))
    except Exception:
        complete = False
    return sorted(found.values(), key=lambda command: command.name), complete


def known_endpoints(petal: Any, settings: Settings) -> tuple[list[str], str | None]:
    """Its HTTP and WebSocket endpoints, for people; and why they are not served, if so."""
    from ...compat._http.endpoints import described, why_not_served

    return described(petal_name(petal), petal), why_not_served(settings)


def required_proxies(petal: Any) -> list[str]:
    """The proxies that a petal of the host says it needs; none where it does not say."""
    try:
        return [name for name in _call(petal, "get_required_proxies") or () if type(name) is str]
    except Exception:  # it is the petal's own code, before its start
        return []


def _call(petal: Any, method: str) -> Any:
    """What a method returns; None when there is no such method."""
    function = getattr(petal, method, None)
    return None if function is None else function()


def _doc(handler: Any) -> str:
    return doc_of(handler)
