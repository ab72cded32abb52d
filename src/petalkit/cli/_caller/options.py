"""What commands that call a device have in common: which device, how long, and for whom."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import Annotated

import attrs
from cyclopts import Parameter

from ..._values.settings.settings import Settings
from ...client import DEFAULT_CALL_TIMEOUT
from .._errors import UsageError
from .._options import GENERAL, CallSettings, GeneralOptions, advice, as_arguments


@Parameter(name="*", group=GENERAL)
@attrs.frozen(kw_only=True)
class CallerOptions:
    """What each of these commands has beside the settings."""

    device: str | None = None
    """The device, by the start of its ID or of what follows the first hyphen in it, as `petalkit
    devices` shows it. --device-id takes the whole ID, and asks no broker which there are."""

    timeout: float = DEFAULT_CALL_TIMEOUT
    """How long to wait for each answer. [s]"""

    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False
    """Print JSON for programs: what it comes to, or what went wrong."""


@attrs.frozen
class Ask:
    """Who is asked, and how.

    Attributes:
        settings: with the device that is meant, unless `device` names it.
        hint: who looks for the cause when there is no answer.
        options: those that lead to the same device, as they are typed.
        device: the start of an ID; None for the device of the settings.
        timeout: seconds for each answer.
        as_json: whether a program reads what is printed.
    """

    settings: Settings
    hint: str = ""
    options: Sequence[str] = ()
    device: str | None = None
    timeout: float = DEFAULT_CALL_TIMEOUT
    as_json: bool = False

    @property
    def others(self) -> Sequence[str]:
        """The options without the device."""
        if "--device" not in self.options:
            return self.options
        at = list(self.options).index("--device")
        return [*self.options[:at], *self.options[at + 2 :]]

    def line(self, command: str, *words: str) -> str:
        """Another command about the same device, to be pasted into a shell."""
        if any(one.startswith("-") for one in words):  # or it would be read as an option
            words = ("--", *words)
            return shlex.join(["petalkit", command, *self.options, *words])
        return shlex.join(["petalkit", command, *words, *self.options])


def make_ask(
    general: GeneralOptions | None, caller: CallerOptions | None, settings: CallSettings | None
) -> Ask:
    """What the options say, loaded; logging is configured.

    Raises:
        ConfigError: a setting cannot be used.
        UsageError: an option cannot.
    """
    general = general or GeneralOptions()
    caller = caller or CallerOptions()
    settings = settings or CallSettings()
    loaded = general.load(settings)
    general.configure_logging("warning")
    check_seconds("--timeout", caller.timeout)
    if caller.device is not None:
        if not caller.device:
            raise UsageError("--device must not be empty")
        if "device_id" in settings.given():
            raise UsageError(
                "--device is the start of an ID and --device-id all of it: give one of the two"
            )
    return Ask(
        settings=loaded.settings,
        hint=advice(general, settings),
        options=as_arguments(
            {"config": general.config, **settings.given(), "device": caller.device}
        ),
        device=caller.device,
        timeout=caller.timeout,
        as_json=caller.as_json,
    )


def check_seconds(option: str, seconds: float) -> None:
    """Refuse what is no time.

    Raises:
        UsageError: it is not above 0, or without an end.
    """
    if not 0 < seconds < math.inf:
        raise UsageError(f"{option} must be seconds above 0, not {seconds}")
