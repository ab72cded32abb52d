"""Petals of the guide's host application on the command line: `--host-compat` and `--host-proxy`.

They are known by their hooks, so that one which derives from nothing of ours is found too. compat
is imported only when it is asked for: it brings asyncio along.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
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
FROM_HOST = "host"  # the host's own, from --host-code
PER_PETAL = ",per-petal"  # at the end of a target: one for each petal, and not one for all
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
        factories: callables by name, called once for all petals.
        per_petal: the same, called once for each petal.
    """

    proxies: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    factories: Mapping[str, Callable[[], Any]] = attrs.field(factory=dict[str, Any])
    per_petal: Mapping[str, Callable[[], Any]] = attrs.field(factory=dict[str, Any])

    @property
    def names(self) -> set[str]:
        """Of the proxies that petals may ask for; those that they do without among them."""
        return {_OWN_PROXY, *self.proxies, *self.factories, *self.per_petal}

    def adapt(self, petals: Sequence[Any]) -> Sequence[Petal]:
        """Wrap petals of the host, in their order, so that the runtime can serve them."""
        if not petals:
            return ()
        from ...compat import adapt

        return adapt(
            *petals,
            proxies=self.proxies,
            proxy_factories=self.factories,
            proxy_factories_per_petal=self.per_petal,
        )


@attrs.frozen
class ProxyTarget:
    """What a proxy is loaded from.

    Attributes:
        target: `module:name`, `path/to/file.py:name`, `host` or `none`.
        where: it was given, for error texts.
        folder: what a relative path is relative to; None: the current directory.
    """

    target: str
    where: str
    folder: Path | None = None


def open_host(
    proxies: Mapping[str, ProxyTarget], code: Path | None = None, env: Path | None = None
) -> HostPetals:
    """Make the host's names importable, and load the proxies.

    Args:
        proxies: by name.
        code: where the host's own proxies lie; None: nowhere.
        env: a `.env` file of the host's, for its variables; None: none.

    Raises:
        UsageError: the real host is installed here, a proxy cannot be loaded, or a file is not
            there.
    """
    from ...compat import HostCodeMissing, HostInstalled, install

    if env is not None:
        _read_env(env)  # before the host's names, which read the variables as they are imported
    try:
        install(host_code=code)
    except (HostInstalled, HostCodeMissing) as error:
        raise UsageError(str(error)) from None
    objects: dict[str, Any] = {}
    factories: dict[str, Callable[[], Any]] = {}
    per_petal: dict[str, Callable[[], Any]] = {}
    for name, proxy in proxies.items():
        target = proxy.target.removesuffix(PER_PETAL)
        found = _load_proxy(name, attrs.evolve(proxy, target=target), has_code=code is not None)
        own = target != proxy.target
        if is_class(found) or _is_routine(found) or target == FROM_HOST:
            (per_petal if own else factories)[name] = found
        elif own:
            text = f"{PER_PETAL} is for what is called, and {target!r} is one object"
            raise UsageError(f"{proxy.where}: {text}")
        else:
            objects[name] = found
    return HostPetals(objects, factories, per_petal)


def _read_env(file: Path) -> None:
    """Set the host's variables as its `.env` file says; what is set already stays."""
    try:
        dotenv: Any = importlib.import_module("dotenv")
    except ImportError:
        raise UsageError(
            "--host-env needs python-dotenv: pip install 'petalkit[host-compat]'"
        ) from None
    if not file.is_file():
        raise UsageError(f"--host-env {file}: there is no such file")
    try:
        found = dotenv.dotenv_values(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"--host-env {file}: {error}") from None
    for name, value in found.items():
        # petalkit's own settings do not come from here.
        if value is not None and not name.startswith("PETALKIT_"):
            os.environ.setdefault(name, value)


def _from_host(name: str, *, has_code: bool) -> Callable[[], Any]:
    from ...compat._host_code import HOST_PROXIES, TO_INSTALL

    if name not in HOST_PROXIES:
        known = ", ".join(HOST_PROXIES)
        raise UsageError(f"the host has no proxy {name!r}: it has {known}")
    if not has_code:
        raise UsageError(f"say where the host's code is: {TO_INSTALL}, and --host-code FOLDER")
    return HOST_PROXIES[name]


def _is_routine(found: Any) -> bool:
    try:
        return inspect.isroutine(found) or isinstance(found, functools.partial)
    except Exception:  # it asks the object, which is somebody's
        return False


def _load_proxy(name: str, proxy: ProxyTarget, *, has_code: bool) -> Any:
    """An object, or a callable that makes one; None for one to do without."""
    target = proxy.target
    try:
        if name == _OWN_PROXY:
            raise UsageError("this proxy is petalkit's own")
        if target == WITHOUT:
            return None
        if target == FROM_HOST:
            return _from_host(name, has_code=has_code)
        place, attribute_name = split_target(target)
        if not attribute_name:
            raise UsageError(f"write module:name, {FROM_HOST} or {WITHOUT}, not {target!r}")
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
    return _listed(petal, "get_required_proxies")


def optional_proxies(petal: Any) -> list[str]:
    """The proxies that it says it can do without."""
    return _listed(petal, "get_optional_proxies")


def _listed(petal: Any, method: str) -> list[str]:
    try:
        return [name for name in _call(petal, method) or () if type(name) is str]
    except Exception:  # it is the petal's own code, before its start
        return []


def _call(petal: Any, method: str) -> Any:
    """What a method returns; None when there is no such method."""
    function = getattr(petal, method, None)
    return None if function is None else function()


def _doc(handler: Any) -> str:
    return doc_of(handler)
