"""The host's decorators: they only mark, and whoever serves the petal reads the marks.

A petal may also put a mark on a function by hand and attach that to itself at run time, so the
names and the forms of the marks are part of what petals rely on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

MQTT_MARK = "__mqtt_action__"
WEB_MARK = "__petal_action__"


def mqtt_action(command: str, *, cpu_heavy: bool = False, **options: Any) -> Callable[[F], F]:
    """Make an `async def` method `(self, topic, message)` the handler of an MQTT command.

    Args:
        command: without the petal's name: `"geometry"` is served as `my-petal/geometry`.
        cpu_heavy: run it in a worker thread, in an asyncio loop of its own, so that it does not
            hold up everything else. It answers as every handler does.
        options: kept in the mark, and not read.
    """
    return _marker(MQTT_MARK, {"command": command, "cpu_heavy": cpu_heavy, **options})


def http_action(method: str, path: str, **options: Any) -> Callable[[F], F]:
    """Mark a method as an HTTP endpoint: `path` under `/petals/{petal}`, as FastAPI takes it.

    Served where the setting `compat_http` says, if the extra `host-http` is installed.

    Args:
        method: such as `"GET"`.
        path: under the petal's own.
        options: for FastAPI: `response_model`, `status_code`, `summary`, ...
    """
    return _marker(WEB_MARK, {"protocol": "http", "method": method, "path": path, **options})


def websocket_action(path: str, **options: Any) -> Callable[[F], F]:
    """Mark a method as a WebSocket endpoint; served as those of `http_action`.

    Args:
        path: under the petal's own.
        options: for FastAPI.
    """
    return _marker(WEB_MARK, {"protocol": "websocket", "path": path, **options})


def _marker(name: str, mark: dict[str, Any]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        setattr(function, name, dict(mark))
        return function

    return decorate
