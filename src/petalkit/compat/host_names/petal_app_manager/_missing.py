"""What is said about a name of the host that petalkit does not have."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def missing_from(module: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module."""

    def refuse(name: str) -> Any:
        text = f"petalkit's stand-in for {module} has no {name!r}"
        # `from module import name` puts words of its own in place of an AttributeError's; whoever
        # else asks, such as `hasattr`, has to get one.
        if _is_from_import(sys._getframe(1)):
            raise ImportError(text, name=module)
        raise AttributeError(text, name=name)

    return refuse


def _is_from_import(frame: FrameType) -> bool:
    code = frame.f_code.co_code
    return 0 <= frame.f_lasti < len(code) and dis.opname[code[frame.f_lasti]] == "IMPORT_FROM"
