"""The host's name for the decorators of `petalkit.compat`."""

from __future__ import annotations

from petalkit.compat import http_action as http_action
from petalkit.compat import mqtt_action as mqtt_action
from petalkit.compat import websocket_action as websocket_action

from .._missing import missing_from

__getattr__ = missing_from(__name__)
