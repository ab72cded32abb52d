"""The HTTP and WebSocket endpoints that a petal of the guide marks, without serving them.

The order is that of the attributes' names, as the host has it: where two paths fit a request, the
first is asked. The trap: the petal's attributes may be properties that need what is not there yet,
so these are not called.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs

from ..._authoring.inspection.foreign import attribute_of
from ..._values.settings.settings import HTTP_OFF, Settings
from .._decorators import WEB_MARK

Protocol = Literal["http", "websocket"]
_PROTOCOLS = ("http", "websocket")
EXTRA = "host-http"
NEEDED = ("fastapi", "hypercorn", "jinja2", "python_multipart", "wsproto")  # what it brings


@attrs.frozen
class Endpoint:
    """One that a petal has.

    Attributes:
        protocol: `"http"` or `"websocket"`.
        method: such as `"GET"`; `"WS"` for a WebSocket.
        path: under the petal's own.
        function: the bound method.
        options: what else the mark has, for FastAPI.
    """

    protocol: Protocol
    method: str
    path: str
    function: Callable[..., Any]
    options: Mapping[str, Any]


def endpoints_of(petal: Any) -> list[Endpoint]:
    """Those that are marked on the class, or on what is attached to the instance by now."""
    found: list[Endpoint] = []
    for name in dir(petal):
        if isinstance(inspect.getattr_static(petal, name, None), property):
            continue
        function = attribute_of(petal, name)
        mark: Any = attribute_of(function, WEB_MARK)
        if not (isinstance(mark, Mapping) and callable(function)):
            continue
        protocol: Any = mark.get("protocol")
        if protocol in _PROTOCOLS:
            options = {key: mark[key] for key in mark if key not in ("protocol", "method", "path")}
            method = "WS" if protocol == "websocket" else str(mark.get("method"))
            found.append(Endpoint(protocol, method, str(mark.get("path")), function, options))
    return found


def prefix_of(petal_name: str) -> str:
    """What the paths of a petal's endpoints start with."""
    return f"/petals/{petal_name}"


def described(petal_name: str, petal: Any) -> list[str]:
    """What a petal has, for people: `"POST /petals/my-petal/abort"`."""
    prefix = prefix_of(petal_name)
    lines = [f"{one.method} {prefix}{one.path}" for one in endpoints_of(petal)]
    if attribute_of(petal, "static_dir"):
        lines.append(f"GET /static/{petal_name}/...")
    return lines


def find_folder(petal_name: str, petal: Any, kind: str, files: Path | None) -> Path | None:
    """The folder of a petal's `static` files or `templates`; None when there is none.

    Args:
        petal_name: as it is served.
        petal: whose they are.
        kind: `"static"` or `"templates"`.
        files: where all are, if the user has said it; else they stand beside the petal's module.
    """
    if files is not None:
        places = [files / kind / petal_name]
    else:
        module = inspect.getmodule(type(petal))
        own = getattr(module, "__file__", None)
        if own is None:
            return None
        told: Any = attribute_of(petal, "static_dir" if kind == "static" else "template_dir")
        names = [told] if isinstance(told, str | Path) else []
        places = [Path(own).parent / name for name in (*names, f"{kind}/{petal_name}", kind)]
    return next((place for place in places if place.is_dir()), None)


def why_not_served(settings: Settings) -> str | None:
    """Why endpoints are not served; None where they are."""
    if settings.compat_http == HTTP_OFF:
        return f'compat_http = "{HTTP_OFF}"'
    for name in NEEDED:
        if not _is_there(name):
            return f"{name} is not installed: pip install 'petalkit[{EXTRA}]'"
    return None


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # of somebody's finder, or somebody's module
        return False
