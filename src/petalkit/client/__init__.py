"""Calling devices from a program: the other end of a petal.

    _errors       what a caller is told when there is no response, or it is a no
    _wire/        from a call to the broker and back
    _reading/     what devices say without being asked
    _long/        jobs, streams and events, as a caller has them
    _trying       which no is tried again
    _commands     the part of `Client` that sends commands
    _client       `Client`
    _opening      `open_client`
    _portal       a client in a Trio loop of a thread, for programs without Trio
    _front        what the two below have in common
    aio           the same for asyncio programs
    sync          the same for programs without an event loop
    typed         types for clients that `petalkit schema` writes

It may import `_values`, `transports`, the names of a job's commands, and what `_serving` knows of
identity and waiting. Begin with `_client`.
"""

from __future__ import annotations

from ._client import Client as Client
from ._commands import DEFAULT_CALL_TIMEOUT as DEFAULT_CALL_TIMEOUT
from ._errors import CallTimeout as CallTimeout
from ._errors import CommandExpired as CommandExpired
from ._errors import CommandRefused as CommandRefused
from ._errors import CommandUnfinished as CommandUnfinished
from ._errors import DeviceBusy as DeviceBusy
from ._errors import DeviceUnavailable as DeviceUnavailable
from ._errors import HandlerFailed as HandlerFailed
from ._errors import InvalidRequest as InvalidRequest
from ._errors import JobCancelled as JobCancelled
from ._errors import JobFailed as JobFailed
from ._errors import NotAllowed as NotAllowed
from ._errors import PetalRefused as PetalRefused
from ._errors import StreamFailed as StreamFailed
from ._errors import UnknownCommand as UnknownCommand
from ._errors import UnknownJob as UnknownJob
from ._long.jobs import ClientJob as ClientJob
from ._long.jobs import JobUpdate as JobUpdate
from ._long.jobs import NotAJob as NotAJob
from ._long.streams import ClientEvents as ClientEvents
from ._long.streams import ClientStatuses as ClientStatuses
from ._long.streams import ClientStream as ClientStream
from ._opening import open_client as open_client
from ._reading.devices import Device as Device
from ._reading.info import DeviceInfo as DeviceInfo
from ._reading.web import Event as Event
from ._wire.statistics import ClientStatistics as ClientStatistics
