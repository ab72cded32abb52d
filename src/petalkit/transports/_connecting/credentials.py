"""What we show at the door of a broker, read anew for every link, since secrets are renewed.

    username, password, key_password,
    proxy_credentials, sidecar_token                   fixed, or ..._file, or ..._source

The rule: what stands in a file, or comes out of a function, never ends a program. It may be right
at the next attempt, so it is a failed connect, which is told and tried again, before the first link
as after it. What the settings contradict by themselves is refused where they are made.

The trap: what goes wrong with a secret may have the secret in its text. So a function's exception
is told by its type alone, and what a file holds is not told at all.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import trio

from ..._values.basics.files import open_regular
from ..._values.errors import ConfigError, ConnectFailed
from ..._values.settings.checks import MQTT_TEXT_MAX
from ..._values.settings.settings import Settings

BROKER_SECRETS = ("username", "password", "key_password", "proxy_credentials")
_TRAVELS = (trio.Cancelled, KeyboardInterrupt)
SIDECAR_SECRETS = ("sidecar_token", "key_password")


class CredentialsFailed(ConnectFailed):
    """A file or a function that a setting names gave nothing that can be used, this time.

    Args:
        setting: the name of the setting.
        reason: what is wrong, without any contents.
    """

    def __init__(self, setting: str, reason: str) -> None:
        super().__init__(setting, reason)
        self.setting = setting
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.setting}: {self.reason}"


async def renew(settings: Settings, names: tuple[str, ...], deadline: float) -> Settings:
    """The settings with the present values of `names` as fixed ones.

    A file is read in the event loop: it is a bounded read of a local file, shorter than the way to
    a worker thread. A function that waits has until `deadline`.

    Raises:
        CredentialsFailed: a file or a function gave none that can be used.
    """
    for name in names:
        if settings.origin_of(name) == f"{name}_source":
            source = getattr(settings, f"{name}_source")
            settings = _fixed(settings, name, await _ask(f"{name}_source", source, deadline))
    return renew_from_files(settings, names)


def renew_from_files(settings: Settings, names: tuple[str, ...]) -> Settings:
    """The same of the files alone, without waiting. Raises as `renew`."""
    for name in names:
        if settings.origin_of(name) == f"{name}_file":
            value = _read(f"{name}_file", getattr(settings, f"{name}_file"))
            settings = _fixed(settings, name, value)
    return settings


def _fixed(settings: Settings, name: str, value: str) -> Settings:
    origin = settings.origin_of(name)
    assert origin is not None
    try:
        changed: dict[str, Any] = {name: value, origin: None}
        return attrs.evolve(settings, **changed)
    except ConfigError as error:  # the checks of a secret do not repeat it
        raise CredentialsFailed(origin, f"what it gives {error.reason}") from None


def _read(setting: str, path: Path) -> str:
    try:
        with open_regular(path) as file:
            data = file.read(MQTT_TEXT_MAX + 3)  # a line end, and one byte too many
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CredentialsFailed(setting, f"{path} cannot be read: {reason}") from None
    except ValueError:
        raise CredentialsFailed(setting, "cannot be read: the path has a null character") from None
    # An editor ends the line; the secret does not.
    data = data.removesuffix(b"\n").removesuffix(b"\r")
    if not data:
        raise CredentialsFailed(setting, f"{path} is empty")
    if len(data) > MQTT_TEXT_MAX:
        raise CredentialsFailed(setting, f"{path} is larger than {MQTT_TEXT_MAX} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise CredentialsFailed(setting, f"{path} is not UTF-8") from None


async def _ask(setting: str, source: Callable[[], Any], deadline: float) -> str:
    value: Any = None
    try:
        with trio.move_on_at(deadline) as scope:
            value = source()
            if inspect.isawaitable(value):
                value = await value
    except BaseException as error:  # of whatever class: asyncio's CancelledError too
        travels: BaseException | None = error if isinstance(error, _TRAVELS) else None
        if isinstance(error, BaseExceptionGroup):
            travels = error.subgroup(_TRAVELS)
        if travels is not None:
            raise travels from None
        # Without a cause: a traceback would show its text.
        raise CredentialsFailed(setting, f"raised {type(error).__name__}") from None
    if scope.cancelled_caught:
        raise CredentialsFailed(setting, "gave no answer in time (connect_timeout)")
    if value is None or value == "":
        raise CredentialsFailed(setting, "has none to give now")
    if not isinstance(value, str):
        raise CredentialsFailed(setting, f"gave {type(value).__name__}, not a text")
    return value
