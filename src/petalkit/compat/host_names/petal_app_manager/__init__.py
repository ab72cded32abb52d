"""petalkit's stand-in for the host application: the names that petals import, and no host.

It is found after `petalkit.compat.install()` only.
"""

from __future__ import annotations

from ._config import Config as Config
from ._missing import missing_from

# The host whose names these are; petals compare it.
__version__ = "0.2.7"

__getattr__ = missing_from(__name__)
