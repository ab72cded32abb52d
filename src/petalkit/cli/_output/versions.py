"""`petalkit --version`: of petalkit, and of what it runs on.

The rule: a version that tells why something does not work is shown, and what is missing is said
with the way to get it. Nothing is imported for it but SQLite, which says itself which one it is.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sqlite3

from ..._values.basics.version import __version__
from .._errors import EXIT_OK
from .printing import print_json

# Name of the distribution, what it is for, and how it is had.
_PARTS = (
    ("trio", "", ""),
    ("trio-asyncio", "asyncio under Trio", ""),
    ("asyncio-mqtt", "transport asyncio-mqtt", ""),
    ("paho-mqtt", "under asyncio-mqtt", ""),
    ("mqtt5", "transport native", "petalkit[native]"),
)


def show_versions(*, as_json: bool = False) -> int:
    """Print them, petalkit's first, and return the exit code."""
    found = {name: _version(name) for name, _, _ in _PARTS}
    python, sqlite = platform.python_version(), sqlite3.sqlite_version
    if as_json:
        versions = {"python": python, **found, "sqlite": sqlite}
        print_json({"petalkit": __version__, **versions, "platform": platform.platform()})
        return EXIT_OK
    lines = [f"petalkit {__version__}"]
    lines.append(f"  {platform.python_implementation()} {python} on {platform.platform()}")
    for name, what, extra in _PARTS:
        said = found[name] or f"not installed: pip install '{extra}'" if extra else found[name]
        lines.append(f"  {name} {said or 'not installed'}{f' ({what})' if what else ''}")
    lines.append(f"  SQLite {sqlite} (journal)")
    print("\n".join(lines), flush=True)  # noqa: T201
    return EXIT_OK


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
