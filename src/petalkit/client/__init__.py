"""Calling commands from a program: the other end of a petal.

    _errors       `CallTimeout`
    _commands     a command as a message, and until when it is wanted
    _calls        calls that wait, and the responses that settle them
    _client       `Client`
    _connection   `open_client`

It may import `_values`, `transports`, and what `_serving` knows of identity and waiting. Begin with
`_client`.
"""

from __future__ import annotations

from ._client import DEFAULT_CALL_TIMEOUT as DEFAULT_CALL_TIMEOUT
from ._client import Client as Client
from ._connection import open_client as open_client
from ._errors import CallTimeout as CallTimeout
