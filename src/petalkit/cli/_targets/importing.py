"""TARGET to module and name: a module or a file that is imported here, or an entry point.

The user's code runs when it is imported (`guarding`), and may import what is beside it
(`neighbours`).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ..._authoring.inspection.foreign import attribute_of
from .._errors import UsageError
from .._settings.loading import near_match
from .guarding import TRY_HOST_COMPAT, Missing, guarded
from .neighbours import claims
from .places import (
    HOST_ENTRY_POINT_GROUP,
    distribution_hint,
    entry_names,
    entry_points_of,
    is_file,
)

logger = logging.getLogger("petalkit.settings")

_NOTHING = object()


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
        value = guarded(target, getattr, value, part, _NOTHING)  # which may be the user's code
        if value is _NOTHING:
            known = [key for key in vars(module) if not key.startswith("_")]
            raise UsageError(
                f"{target!r}: {module.__name__} has no {name!r}{near_match(name, known)}"
            )
    return value


def load_entry_point(target: str, groups: Sequence[str]) -> Any:
    """What an entry point of one of the groups leads to; None when none has that name.

    Raises:
        UsageError: several have it, or it cannot be imported.
    """
    matches = {
        entry.value: entry
        for group in groups
        for entry in entry_points_of(group)
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
    file = attribute_of(module, "__file__")
    return isinstance(file, str) and Path(file).resolve() == path


def _import_module(name: str, target: str, groups: Sequence[str]) -> ModuleType:
    _importable(os.getcwd())
    if not name or not all(part.isidentifier() for part in name.split(".")):
        if not groups:
            raise UsageError(f"{target!r} is neither module:name nor path/to/file.py:name")
        raise UsageError(
            f"{target!r} is neither module:Petal, path/to/file.py:Petal nor the name of an "
            f"entry point of the group {' or '.join(groups)}{distribution_hint(target, groups)}"
        )
    _claim_beside(Path.cwd(), name, target)
    try:
        module: ModuleType = guarded(target, importlib.import_module, name)
        return module
    except Missing as missing:
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
    hint = near_match(name, entry_names(groups))
    if not hint and name in entry_names([HOST_ENTRY_POINT_GROUP]):
        return f", but a petal of the host of that name{TRY_HOST_COMPAT}"
    return hint or f", and no entry point of that name{distribution_hint(name, groups)}"


def _importable(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)
