"""petalkit: structured concurrency for petals, command handlers over MQTT, on Trio.

The folders; an import goes only towards an earlier line, here and inside each folder, whose
`__init__` has a chart like this one (`tests/test_layers.py` holds them):

    _values/      what things are, and how they are read and written
    transports/   the wire, and no petal
    _authoring/   a petal, and no runtime
    _serving/     the way of a command, and the lives of those who serve it
    client/       the caller's side
    testing/      petals in tests
    compat/       petals of the older guide
    cli/          the command line
    __main__      `python -m petalkit`

What has an underscore, or stands under a folder that has one, is private. Begin with `_values/` for
the words, then follow a command through `_serving/`; docs/design.md has the picture.

A name is imported when it is asked for: what a program does not use costs its start nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._authoring.command import command as command

    # -- authoring
    from ._authoring.context import CommandContext as CommandContext
    from ._authoring.context import CommandLogFilter as CommandLogFilter
    from ._authoring.jobs.handle import InterruptedJob as InterruptedJob
    from ._authoring.jobs.handle import Job as Job
    from ._authoring.jobs.handle import NoCheckpoints as NoCheckpoints
    from ._authoring.jobs.job import job as job
    from ._authoring.jobs.progress import Step as Step
    from ._authoring.jobs.stream import stream as stream
    from ._authoring.petal import Petal as Petal
    from ._serving.ledger.records import JournalError as JournalError

    # -- serving
    from ._serving.memory import MemoryBound as MemoryBound
    from ._serving.memory import memory_bounds as memory_bounds
    from ._serving.opening import open_runtime as open_runtime
    from ._serving.opening import serve as serve
    from ._serving.process.run import run as run
    from ._serving.runtime import AllPetalsFailed as AllPetalsFailed
    from ._serving.runtime import Runtime as Runtime
    from ._values.basics.version import __version__ as __version__

    # -- errors
    from ._values.errors import CommandError as CommandError
    from ._values.errors import ConfigError as ConfigError
    from ._values.errors import ConnectFailed as ConnectFailed
    from ._values.errors import ConnectionLost as ConnectionLost
    from ._values.errors import ErrorCode as ErrorCode
    from ._values.errors import PayloadError as PayloadError
    from ._values.errors import PetalkitError as PetalkitError
    from ._values.errors import RegistrationError as RegistrationError
    from ._values.errors import RejectedByBroker as RejectedByBroker
    from ._values.errors import TransportError as TransportError

    # -- values
    from ._values.job_states import JobState as JobState
    from ._values.messages import Command as Command
    from ._values.messages import Identity as Identity
    from ._values.messages import Message as Message
    from ._values.messages import Properties as Properties
    from ._values.messages import Response as Response
    from ._values.settings.settings import Settings as Settings
    from ._values.statistics import Statistics as Statistics
    from ._values.structuring import forbid_extra_keys as forbid_extra_keys
    from ._values.structuring import make_converter as make_converter
    from ._values.topics import TopicError as TopicError
    from ._values.topics import TopicFilter as TopicFilter
    from .client import CallTimeout as CallTimeout
    from .client import Client as Client
    from .client import open_client as open_client

# Where each is; the same list as above, which is for type checkers.
_PLACES = {
    "command": "._authoring.command",
    "CommandContext": "._authoring.context",
    "CommandLogFilter": "._authoring.context",
    "InterruptedJob": "._authoring.jobs.handle",
    "Job": "._authoring.jobs.handle",
    "NoCheckpoints": "._authoring.jobs.handle",
    "job": "._authoring.jobs.job",
    "Step": "._authoring.jobs.progress",
    "stream": "._authoring.jobs.stream",
    "Petal": "._authoring.petal",
    "JournalError": "._serving.ledger.records",
    "MemoryBound": "._serving.memory",
    "memory_bounds": "._serving.memory",
    "open_runtime": "._serving.opening",
    "serve": "._serving.opening",
    "run": "._serving.process.run",
    "AllPetalsFailed": "._serving.runtime",
    "Runtime": "._serving.runtime",
    "__version__": "._values.basics.version",
    "CommandError": "._values.errors",
    "ConfigError": "._values.errors",
    "ConnectFailed": "._values.errors",
    "ConnectionLost": "._values.errors",
    "ErrorCode": "._values.errors",
    "PayloadError": "._values.errors",
    "PetalkitError": "._values.errors",
    "RegistrationError": "._values.errors",
    "RejectedByBroker": "._values.errors",
    "TransportError": "._values.errors",
    "JobState": "._values.job_states",
    "Command": "._values.messages",
    "Identity": "._values.messages",
    "Message": "._values.messages",
    "Properties": "._values.messages",
    "Response": "._values.messages",
    "Settings": "._values.settings.settings",
    "Statistics": "._values.statistics",
    "forbid_extra_keys": "._values.structuring",
    "make_converter": "._values.structuring",
    "TopicError": "._values.topics",
    "TopicFilter": "._values.topics",
    "CallTimeout": ".client",
    "Client": ".client",
    "open_client": ".client",
}
_FOLDERS = ("client", "transports")  # to be had of the package without an import of their own


if not TYPE_CHECKING:  # or a name that is not there would be anything
    # Else `from petalkit import *` would find what was asked for before, and nothing more.
    __all__ = sorted(name for name in _PLACES if not name.startswith("_"))

    def __getattr__(name: str) -> Any:
        """Import one of the names above, and keep it."""
        if name in _PLACES:
            found = getattr(importlib.import_module(_PLACES[name], __name__), name)
        elif name in _FOLDERS:
            found = importlib.import_module(f".{name}", __name__)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    """The names above too."""
    return sorted({*globals(), *_PLACES, *_FOLDERS})
