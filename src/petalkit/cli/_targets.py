"""TARGET to petal: a module or a file and a name in it, or an installed entry point.

The user's code is imported here, so two kinds of errors meet. A mistake in the TARGET is one line.
An error inside the user's file shows the user's own part of the traceback, and none of ours.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from .._errors import PetalkitError
from .._petal import Petal
from .._registry import check_petal
from ._errors import UsageError
from ._petal_options import construct
from ._settings_loading import near_match

ENTRY_POINT_GROUP = "petalkit.petals"


def load_targets(
    targets: Sequence[str],
    petal_tables: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    origin: str | None = None,
) -> list[Petal]:
    """The petals that the targets name, made with their tables of the configuration file.

    Args:
        targets: `module:Name`, `path/to/file.py:Name`, or the name of an entry point of the
            group `petalkit.petals`. `Name` is a petal's class, an instance, or a callable that
            returns one; it may be left out where exactly one petal is defined.
        petal_tables: keyword arguments for constructors and factories, by the petal's name.
        origin: the file that the tables stand in, for error texts.

    Raises:
        UsageError: a target leads to no petal, or a table to no constructor.
    """
    tables = dict(petal_tables or {})
    unused = set(tables)
    petals: list[Petal] = []
    for target in targets:
        petal = _make(target, _find(target), tables, origin)
        unused.discard(petal.name)
        petals.append(petal)
    for name in sorted(unused):
        hint = near_match(name, (petal.name for petal in petals))
        served = ", ".join(petal.name for petal in petals)
        raise UsageError(f"[petals.{name}] in {origin}: no petal of that name ({served}){hint}")
    return petals


def _find(target: str) -> Any:
    place, colon, name = target.rpartition(":")
    if not colon or (os.name == "nt" and len(place) == 1):
        place, name = target, ""
    if colon and not name:
        raise UsageError(f"{target!r}: nothing stands after the colon; write {place}:MyPetal")
    if place.endswith(".py") or os.sep in place:
        return _pick(_import_file(Path(place), target), name, target)
    if not colon:
        found = _entry_point(target)
        if found is not None:
            return found
    return _pick(_import_module(place, target), name, target)


def _entry_point(target: str) -> Any:
    matches = {
        entry.value: entry
        for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
        if entry.name == target
    }
    if len(matches) > 1:
        raise UsageError(f"{target!r} is an entry point of several: {', '.join(sorted(matches))}")
    for entry in matches.values():
        return _guarded(target, entry.load)
    return None


def _import_file(path: Path, target: str) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"{target!r}: there is no file {str(path)!r}")
    path = path.resolve()
    # As `python path/to/file.py` does: the file's neighbours can be imported by it.
    _importable(str(path.parent))
    name = path.stem
    loaded = sys.modules.get(name)
    if loaded is not None and _same_file(loaded, path):
        return loaded
    if not name.isidentifier() or loaded is not None or name in sys.stdlib_module_names:
        # Not under a name that is somebody else's already.
        name = f"petalkit_target_{abs(hash(str(path))):x}"
        if name in sys.modules:
            return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{target!r}: {str(path)!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Known before it runs, as for every import: attrs and pickling look it up.
    sys.modules[name] = module
    try:
        _guarded(target, spec.loader.exec_module, module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _same_file(module: ModuleType, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve() == path


def _import_module(name: str, target: str) -> ModuleType:
    _importable(os.getcwd())
    if not name or not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(
            f"{target!r} is neither module:Petal, path/to/file.py:Petal nor the name of an "
            f"entry point of the group {ENTRY_POINT_GROUP}"
        )
    try:
        module: ModuleType = _guarded(target, importlib.import_module, name)
        return module
    except _Missing as missing:
        if missing.name is not None and (name + ".").startswith(missing.name + "."):
            hint = _module_hint(name)
            raise UsageError(f"{target!r}: there is no module {missing.name!r}{hint}") from None
        raise UsageError(missing.message, details=missing.details) from None


def _module_hint(name: str) -> str:
    if Path(f"{name}.py").exists():
        return ""
    entries = {entry.name for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)}
    hint = near_match(name, entries)
    return hint or ", and no entry point of that name"


def _importable(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


class _Missing(UsageError):
    """A module was not found; which one decides whether the target or its file is wrong."""

    def __init__(self, message: str, *, details: str, name: str | None) -> None:
        super().__init__(message, details=details)
        self.name = name


def _guarded(target: str, call: Any, *arguments: Any) -> Any:
    """Run the user's code; its errors become a `UsageError` with the user's part of the trace."""
    try:
        return call(*arguments)
    except (UsageError, PetalkitError):
        raise
    except SystemExit as error:
        raise UsageError(f"{target!r}: importing it ended the program ({error})") from None
    except Exception as error:
        message = f"{target!r} could not be loaded: {type(error).__name__}: {error}"
        details = _own_traceback(error)
        if isinstance(error, ModuleNotFoundError):
            raise _Missing(message, details=details, name=error.name) from None
        raise UsageError(message, details=details) from None


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


def _pick(module: ModuleType, name: str, target: str) -> Any:
    if name:
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
    defined = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Petal)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    ]
    if len(defined) == 1:
        return defined[0]
    if not defined:
        raise UsageError(f"{target!r}: no petal is defined in {module.__name__}")
    names = ", ".join(f"{target}:{petal.__name__}" for petal in defined)
    raise UsageError(f"{target!r} has several petals; choose one of {names}")


def _make(
    target: str, found: Any, tables: Mapping[str, Mapping[str, Any]], origin: str | None
) -> Petal:
    if isinstance(found, Petal):
        if _check_name(found).name in tables:
            raise UsageError(
                f"[petals.{found.name}] in {origin}: {target!r} is an instance already; "
                "name its class or a factory"
            )
        return found
    if inspect.isclass(found) and issubclass(found, Petal):
        name = getattr(found, "name", None)
        table: Mapping[str, Any] = tables.get(name, {}) if isinstance(name, str) else {}
        made: Petal = _guarded(target, construct, found, table, _table_name(name, origin))
        return _check_name(made)
    if not callable(found) or inspect.isclass(found):
        raise UsageError(f"{target!r} is neither a petal nor makes one: {type(found).__name__}")
    return _make_by_factory(target, found, tables, origin)


def _make_by_factory(
    target: str, factory: Any, tables: Mapping[str, Mapping[str, Any]], origin: str | None
) -> Petal:
    """Only the petal that a factory returns knows its name, so its annotation tells the table."""
    table: Mapping[str, Any] = {}
    name = getattr(_return_type(factory), "name", None)
    if isinstance(name, str):
        table = tables.get(name, {})
    if name is None and (needs := _required(factory)):
        raise UsageError(
            f"{target!r} is called without arguments to make a petal, and needs {needs}; is it a "
            "factory? Then annotate what it returns, and set them in that petal's table"
        )
    petal = _guarded(target, construct, factory, table, _table_name(name, origin))
    if inspect.iscoroutine(petal):
        petal.close()
        raise UsageError(f"{target!r} is an async function; a factory is a plain one")
    if not isinstance(petal, Petal):
        raise UsageError(f"{target!r} returned {type(petal).__name__}, and not a petal")
    if _check_name(petal).name in tables and not table:
        raise UsageError(
            f"[petals.{petal.name}] in {origin}: annotate what {target!r} returns with the "
            "petal's class, so that its table can be found before it is called"
        )
    return petal


def _check_name(petal: Petal) -> Petal:
    """Its table is found by its name, so that comes first."""
    check_petal(petal)
    return petal


def _table_name(name: object, origin: str | None) -> str:
    return f"[petals.{name}] in {origin or 'a file given by --config'}"


def _required(factory: Any) -> str:
    """The arguments that have to be given, as a list in words."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return ""
    return ", ".join(
        one.name
        for one in parameters
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    )


def _return_type(factory: Any) -> Any:
    try:
        return inspect.get_annotations(factory, eval_str=True).get("return")
    except Exception:
        return None
