"""The names under which an HTTP server of ours is called: RFC 9110, section 7.2.

The trap: a web page can give a name of its own the address of this machine (DNS rebinding), and is
then of the same origin as we are. So a name in `Host` has to be one of ours. An IP address is
nobody's name.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

_HOST = re.compile(r"(?:\[[0-9a-f:.]+\]|(?P<name>[^\[\]:/@\s]+))(?::[0-9]*)?")


class HostNames:
    """See the module.

    Args:
        names: ours, beside `localhost`, in any case.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {"localhost", *map(str.lower, names)}
        self._good: bytes | None = None  # the last one, which is mostly the next

    def is_ours(self, host: bytes) -> bool:
        """Whether a value of `Host` is an address, or one of the names."""
        if host == self._good:
            return True
        found = _HOST.fullmatch(host.decode("latin-1").lower())
        if found is None:
            return False
        name = found["name"]
        if name is not None and name.rstrip(".") not in self._names and not _is_address(name):
            return False
        self._good = host
        return True


def _is_address(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True
