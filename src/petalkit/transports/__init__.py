"""Transports: each knows the wire, none knows a petal.

    _forks          what a forked child must not keep
    _reason_codes   what the reason codes of MQTT 5 say of a message of ours
    _limits         what brokers limit, by their CONNACK and without a word
    _delivery       a message that came, and its acknowledgement
    _line/          what has left, and is the peer alive
    _contract       Transport, Link: what every transport keeps
    _connecting/    from an address to an open stream
    _receiving/     PUBLISH packets on their way in
    _base_link      what links to a broker have in common
    _hold           such a link's tasks around a block
    _trio_asyncio   an asyncio loop on Trio
    _broker/        a broker of our own
    memory/         it in this process, for tests
    native/         MQTT 5 on Trio's own streams
    asyncio_mqtt/   the default: asyncio-mqtt on trio-asyncio
    sidecar/        an external MQTT client, over HTTP

It may import `_values`. Begin with `_contract`; a new transport is a folder beside the others,
and its name is in `_TRANSPORTS` below. A transport is imported only when it is asked for: its
libraries are its own business.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from .._values.errors import ConfigError
from ._contract import ConnectOptions as ConnectOptions
from ._contract import Link as Link
from ._contract import OnDone as OnDone
from ._contract import Transport as Transport
from ._delivery import AckWindow as AckWindow
from ._delivery import Delivery as Delivery
from ._delivery import Fault as Fault
from ._delivery import WithdrawableDelivery as WithdrawableDelivery

if TYPE_CHECKING:
    from .._values.settings.settings import Settings

# name -> module; the module has `create(settings) -> Transport`
_TRANSPORTS = {
    "asyncio-mqtt": "petalkit.transports.asyncio_mqtt",
    "native": "petalkit.transports.native",
    "sidecar": "petalkit.transports.sidecar",
}
_EXTRAS = {  # package -> the extra that brings it
    "mqtt5": "native",
    "wsproto": "websocket",
    **dict.fromkeys(("h11", "httpx", "hypercorn", "starlette"), "http"),
}


def create_transport(settings: Settings) -> Transport:
    """The transport that `settings.transport` names.

    Raises:
        ConfigError: there is none of that name, or its settings cannot work.
    """
    try:
        module = _TRANSPORTS[settings.transport]
    except KeyError:
        raise ConfigError(
            "transport", f"must be one of {', '.join(_TRANSPORTS)}, not {settings.transport!r}"
        ) from None
    try:
        transport: Transport = importlib.import_module(module).create(settings)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        what = repr(settings.transport) if extra != "websocket" else "ws:// and wss://"
        verb = "needs" if extra != "websocket" else "need"
        text = f"{what} {verb} a package more: pip install 'petalkit[{extra}]'"
        raise ConfigError("transport", text) from None
    return transport
