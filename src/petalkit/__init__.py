"""petalkit: structured concurrency for petals, command handlers over MQTT, on Trio.

The layers; an import goes only towards an earlier line (`tests/test_layers.py` holds it):

    values       _version  _errors  _topics  _messages  _types/  _structuring  _clocks  _codec
                 _settings_checks  _proxies  _server_references  _settings  _dialects  _files
                 _reason_codes
    transports   _forks  transports/
    authoring    _context  _unknown_keys  _binding  _registry  _collecting  _petal
    runtime      _waiting  _failures  _statistics  _terms  _identity  _journal_records
                 _journal_age  _journal_lock  _journal_schema  _journal_pruning  _journal_batch
                 _journal_rows  _journal_store  _journal_file  _journal_writer  _journal
                 _journal_forms  _posts  _duplicates  _outgoing  _deferred  _suspects  _stale
                 _outbox  _answers  _execution  _backlog  _unknown  _starts  _refused_lately
                 _endings  _dispatcher  _refusals  _malformed  _freshness  _held  _recovery
                 _disk_backlog  _copies  _intake  _link_terms  _supervisor  _restarts
                 _added_commands  _loggers
                 _lifespans  _builtin  _watchdog  _runtime
    around it    _log_stream  _logs  _signals  _systemd  _run  client  _embedded_broker
                 testing/  compat/  cli/  __main__
"""

from __future__ import annotations

# -- authoring
from ._context import CommandContext as CommandContext
from ._context import CommandLogFilter as CommandLogFilter

# -- errors
from ._errors import CommandError as CommandError
from ._errors import ConfigError as ConfigError
from ._errors import ConnectFailed as ConnectFailed
from ._errors import ConnectionLost as ConnectionLost
from ._errors import ErrorCode as ErrorCode
from ._errors import PayloadError as PayloadError
from ._errors import PetalkitError as PetalkitError
from ._errors import RegistrationError as RegistrationError
from ._errors import RejectedByBroker as RejectedByBroker
from ._errors import TransportError as TransportError
from ._journal_records import JournalError as JournalError

# -- values
from ._messages import Command as Command
from ._messages import Identity as Identity
from ._messages import Message as Message
from ._messages import Properties as Properties
from ._messages import Response as Response
from ._petal import Petal as Petal
from ._petal import command as command

# -- serving
from ._run import run as run
from ._runtime import AllPetalsFailed as AllPetalsFailed
from ._runtime import Runtime as Runtime
from ._runtime import open_runtime as open_runtime
from ._runtime import serve as serve
from ._settings import Settings as Settings
from ._statistics import Statistics as Statistics
from ._structuring import forbid_extra_keys as forbid_extra_keys
from ._structuring import make_converter as make_converter
from ._topics import TopicError as TopicError
from ._topics import TopicFilter as TopicFilter
from ._version import __version__ as __version__
from .client import CallTimeout as CallTimeout
from .client import Client as Client
from .client import open_client as open_client
