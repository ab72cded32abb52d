"""The names of the host's MAVLink proxies, and of what they raise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from .._missing import missing_from
from ._stand_in import StandIn

ProgressCB: TypeAlias = Callable[[float], Awaitable[None]]  # 0.0 to 1.0


class DownloadCancelledException(Exception):
    """A download was cancelled by the user."""


class FTPDeleteError(Exception):
    """A file could not be deleted over MAVLink FTP.

    Args:
        path: of the file.
        ftp_code: the protocol's own.
        message: for people.
    """

    def __init__(self, path: str, ftp_code: int, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.ftp_code = ftp_code


class ExternalProxy(StandIn):
    """A device that has to be polled."""


class MavLinkExternalProxy(ExternalProxy):
    """The flight controller, over MAVLink."""

    _petalkit_name = "ext_mavlink"


class MavLinkFTPProxy(StandIn):
    """Files of the flight controller, over MAVLink FTP."""

    _petalkit_name = "ftp_mavlink"


__getattr__ = missing_from(__name__)
