"""TARGET to module and name: a module or a file that is imported here, or an entry point.

The user's code runs when it is imported, so two kinds of errors meet. A mistake in the TARGET is
one line. An error inside the user's file shows the user's own part of the traceback, and none of
ours.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from ..._serving.failures import ENDS_PROCESS, showable, text_of
from ..._values.errors import PetalkitError
from .._errors import UsageError
from .._settings.loading import near_match
from .neighbours import claims

logger = logging.getLogger("petalkit.settings")

ENTRY_POINT_GROUP = "petalkit.petals"
HOST_ENTRY_POINT_GROUP = "petal.plugins"
TRY_HOST_COMPAT = ": try --host-compat"
_HOST = "petal_app_manager"
# What the host had with it: its petals import these, and do not say that they need them.
_BROUGHT_BY_HOST = frozenset(
    {"dotenv", "fastapi", "httpx", "pydantic", "pydantic_core", "pymavlink", "requests", "yaml"}
)


def split_target(target: str) -> tuple[str, str]:
    """A TARGET's place, and the name in it; the name is empty when it is left out.

    Raises:
        UsageError: nothing stands after the colon.
    """
    place, colon, name = target.rpartition(":")
    if not colon or (os.name == "nt" and len(place) == 1):
        place, name = target, ""
    elif not name:
        raise UsageError(f"{target!r}: nothing stands after the colon; write {place}:MyPetal")
    return place, name


def is_file(place: str) -> bool:
    """Whether a place is meant as a file."""
    return place.endswith(".py") or os.sep in place


def is_folder(target: str) -> bool:
    """Whether a target is a folder, of files that define petals."""
    return os.path.isdir(target) and (os.sep in target or not _is_entry_or_module(target))


def _is_entry_or_module(name: str) -> bool:
    """A plain word is a module or an entry point where there is one, also beside such a folder."""
    return Path(name, "__init__.py").is_file() or name in _entry_names(
        [ENTRY_POINT_GROUP, HOST_ENTRY_POINT_GROUP]
    )


def petal_files(folder: str) -> list[str]:
    """Its files that may define petals, in order: not those whose names begin with `_` or `.`."""
    return sorted(
        os.path.join(folder, entry.name)
        for entry in os.scandir(folder)
        if entry.name.endswith(".py") and not entry.name.startswith(("_", ".")) and entry.is_file()
    )


def import_place(place: str, target: str, groups: Sequence[str] = ()) -> ModuleType:
    """Import what stands before the colon.

    Args:
        place: a file or a module.
        target: the whole, for error texts.
        groups: of entry points that the target could have named, for error texts.

    Raises:
        UsageError: there is no such module, or it cannot be imported.
    """
    if is_file(place):
        return _import_file(Path(place), target)
    return _import_module(place, target, groups)


def attribute(module: ModuleType, name: str, target: str) -> Any:
    """What a dotted name leads to.

    Raises:
        UsageError: nothing has that name.
    """
    value: Any = module
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            known = [key for key in vars(module) if not key.startswith("_")]
            raise UsageError(
                f"{target!r}: {module.__name__} has no {name!r}{near_match(name, known)}"
            ) from None
    return value


def load_entry_point(target: str, groups: Sequence[str]) -> Any:
    """What an entry point of one of the groups leads to; None when none has that name.

    Raises:
        UsageError: several have it, or it cannot be imported.
    """
    matches = {
        entry.value: entry
        for group in groups
        for entry in importlib.metadata.entry_points(group=group)
        if entry.name == target
    }
    if len(matches) > 1:
        raise UsageError(f"{target!r} is an entry point of several: {', '.join(sorted(matches))}")
    for entry in matches.values():
        return guarded(target, entry.load)
    return None


def _import_file(path: Path, target: str) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"{target!r}: there is no file {str(path)!r}")
    path = path.resolve()
    inside = _name_in_package(path)
    if inside is not None:
        return _import_from_package(path, *inside, target)
    claims().claim(path, path.parent, target)
    # As `python path/to/file.py` does: the file's neighbours can be imported by it.
    _importable(str(path.parent))
    name = path.stem
    loaded = sys.modules.get(name)
    if loaded is not None and _same_file(loaded, path):
        return loaded
    if not name.isidentifier() or loaded is not None or name in sys.stdlib_module_names:
        # Not under a name that is somebody else's already.
        name = f"petalkit_target_{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}"
        if name in sys.modules:
            return sys.modules[name]
        logger.warning(
            "%s cannot be imported as %r, which is no free name: functions in it cannot be sent to "
            "processes (spawn, forkserver); rename the file",
            path,
            path.stem,
        )
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{target!r}: {str(path)!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Known before it runs, as for every import: attrs and pickling look it up.
    sys.modules[name] = module
    try:
        guarded(target, spec.loader.exec_module, module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _name_in_package(path: Path) -> tuple[Path, str] | None:
    """For a file of a package: the folder to import from, and the name there. None otherwise."""
    parts = [] if path.name == "__init__.py" else [path.stem]
    root = path.parent
    while (root / "__init__.py").is_file() and root != root.parent:
        parts.insert(0, root.name)
        root = root.parent
    if root == path.parent or not all(part.isidentifier() for part in parts):
        return None
    top = sys.modules.get(parts[0])
    if parts[0] in sys.stdlib_module_names or (
        top is not None and not _same_file(top, root / parts[0] / "__init__.py")
    ):
        return None  # the name is somebody else's: the file has to do without its package
    return root, ".".join(parts)


def _import_from_package(path: Path, root: Path, name: str, target: str) -> ModuleType:
    """Import a file under its full name, so that `from . import logger` works in it."""
    claims().claim(path, path.parent, target, last=True)
    _importable(str(root))
    if str(path.parent) not in sys.path:
        # A file in a package may import its neighbours by their plain names all the same, but
        # they do not take the place of anything.
        sys.path.append(str(path.parent))
    module: ModuleType = guarded(target, importlib.import_module, name)
    if not _same_file(module, path):
        raise UsageError(f"{target!r}: {name} is imported from {module.__file__!r} instead")
    return module


def _same_file(module: ModuleType, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve() == path


def _import_module(name: str, target: str, groups: Sequence[str]) -> ModuleType:
    _importable(os.getcwd())
    if not name or not all(part.isidentifier() for part in name.split(".")):
        if not groups:
            raise UsageError(f"{target!r} is neither module:name nor path/to/file.py:name")
        raise UsageError(
            f"{target!r} is neither module:Petal, path/to/file.py:Petal nor the name of an "
            f"entry point of the group {' or '.join(groups)}"
        )
    _claim_beside(Path.cwd(), name, target)
    try:
        module: ModuleType = guarded(target, importlib.import_module, name)
        return module
    except _Missing as missing:
        if missing.name is not None and (name + ".").startswith(missing.name + "."):
            hint = _module_hint(name, groups)
            raise UsageError(f"{target!r}: there is no module {missing.name!r}{hint}") from None
        raise UsageError(missing.message, details=missing.details) from None


def _claim_beside(folder: Path, name: str, target: str) -> None:
    """What a module of the current folder imports from there is its own, too."""
    place = folder.joinpath(*name.split("."))
    for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
        if file.is_file():
            claims().claim(file.resolve(), folder, target)
            return


def _module_hint(name: str, groups: Sequence[str]) -> str:
    if not groups or Path(f"{name}.py").exists():
        return ""
    hint = near_match(name, _entry_names(groups))
    if not hint and name in _entry_names([HOST_ENTRY_POINT_GROUP]):
        return f", but a petal of the host of that name{TRY_HOST_COMPAT}"
    return hint or ", and no entry point of that name"


def _entry_names(groups: Sequence[str]) -> set[str]:
    return {
        entry.name for group in groups for entry in importlib.metadata.entry_points(group=group)
    }


def _importable(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


class _Missing(UsageError):
    """A module was not found; which one decides whether the target or its file is wrong."""

    def __init__(self, message: str, *, details: str, name: str | None) -> None:
        super().__init__(message, details=details)
        self.name = name


def guarded(target: str, call: Any, *arguments: Any) -> Any:
    """Run the user's code; its errors become a `UsageError` with the user's part of the trace."""
    path, entries = sys.path, list(sys.path)
    try:
        return call(*arguments)
    except (UsageError, PetalkitError):
        raise
    except SystemExit as error:
        raise UsageError(f"{target!r}: importing it ended the program ({error})") from None
    except ENDS_PROCESS:
        raise
    except BaseException as error:  # of whatever class
        message = f"{target!r} could not be loaded: {text_of(error)}"
        details = _own_traceback(showable(error))
        if isinstance(error, ModuleNotFoundError):
            message += _missing_hint(error.name or "")
            raise _Missing(message, details=details, name=error.name) from None
        raise UsageError(message, details=details) from None
    finally:
        _put_back(target, path, entries)


def _put_back(target: str, path: list[str], entries: Sequence[str]) -> None:
    """What others import is not one petal's to take away."""
    gone = [entry for entry in entries if entry not in sys.path]
    if gone:
        logger.warning(
            "%s has taken %d entries from sys.path, which are put back: add to it, and leave the "
            "others",
            target,
            len(gone),
        )
        path[:] = [*sys.path, *gone]
        sys.path = path


def _missing_hint(name: str) -> str:
    if name == _HOST:
        return f"; it is a petal of the host{TRY_HOST_COMPAT}"
    if _HOST in sys.modules and name.split(".")[0] in _BROUGHT_BY_HOST:
        return "; the host brought it along: pip install 'petalkit[host-compat]'"
    return ""


def _own_traceback(error: BaseException) -> str:
    """The traceback from the first frame that is neither ours nor the import system's."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None and _is_machinery(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    if trace is None and not isinstance(error, SyntaxError):
        return ""
    return "".join(traceback.format_exception(type(error), error, trace))


_HERE = os.path.dirname(os.path.abspath(__file__))
_IMPORTLIB = os.path.dirname(os.path.abspath(importlib.__file__))


def _is_machinery(filename: str) -> bool:
    return filename.startswith(("<frozen importlib", _HERE, _IMPORTLIB))
