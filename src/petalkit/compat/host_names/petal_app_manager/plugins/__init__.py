"""Where the host keeps what petals are made of."""

from __future__ import annotations

from .._missing import missing_from

__getattr__ = missing_from(__name__)
