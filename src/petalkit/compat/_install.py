"""`install()`: petals that import `petal_app_manager` find the names of petalkit.

The names are real files, in the folder `host_names` beside this one, so that tracebacks, type
checkers and people can read them. The finder is asked last: whatever else is installed goes first,
and where that is the host itself, petals would get classes that petalkit cannot serve. So that is
refused, and not shadowed.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from ._errors import HostInstalled
from ._host_code import FINDER as HOST_CODE
from ._host_code import HOST, find_code, forget_code

_FOLDER = str(Path(__file__).parent / "host_names")


class _Finder(MetaPathFinder):
    """Finds the host's package in our folder; its submodules are found by its own path."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname == HOST:
            return PathFinder.find_spec(fullname, [_FOLDER], target)
        if fullname.startswith(HOST + ".") and _is_imported():
            # Nobody before us has found it, and nobody comes after us.
            raise ModuleNotFoundError(
                f"No module named {fullname!r}: petalkit stands in for {HOST}, and has not this "
                "part of it",
                name=fullname,
            )
        return None


def _is_imported() -> bool:
    """Whether the finder is called by an import, and not by `importlib.util.find_spec`.

    To that None is the answer. The machinery tells a finder nothing of it, so its stack does.
    """
    machinery = sys._getframe(1).f_back  # its own `_find_spec`
    caller = None if machinery is None else machinery.f_back
    return caller is not None and caller.f_code.co_name == "_find_and_load_unlocked"


_FINDER = _Finder()


def install(*, host_code: Path | None = None) -> None:
    """Make `petal_app_manager` importable from petalkit, for this process. Twice is once.

    Call it before the petals are imported.

    Args:
        host_code: a folder with the host's own package, which Python does not look into. Its
            proxies then come from there, and nothing else of it.

    Raises:
        HostInstalled: the real one is here.
        HostCodeMissing: the folder has no proxies of the host.
    """
    where = _real_host()
    if where is not None:
        raise HostInstalled(where)
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)
    if host_code is not None:
        finder = find_code(host_code)
        if finder not in sys.meta_path:
            sys.meta_path.insert(0, finder)  # before what finds petalkit's stand-ins


def _real_host() -> str | None:
    """Where the real host is; None when there is none, or ours in its place."""
    loaded = sys.modules.get(HOST)
    if loaded is not None:
        places = list(getattr(loaded, "__path__", ()))
        if any(Path(place).parent == Path(_FOLDER) for place in places):
            return None
        return getattr(loaded, "__file__", None) or "already imported"
    spec = importlib.util.find_spec(HOST)
    if spec is None or (spec.origin or "").startswith(_FOLDER):
        return None
    return spec.origin or ", ".join(spec.submodule_search_locations or ("found",))


def _uninstall() -> None:
    """Undo `install()` and forget the modules; for tests. What imported from them keeps that."""
    sys.meta_path[:] = [one for one in sys.meta_path if one not in (_FINDER, HOST_CODE)]
    forget_code()
    for name in list(sys.modules):
        if name == HOST or name.startswith(HOST + "."):
            del sys.modules[name]
