"""The neighbours of TARGET files: a name that two folders have is each one's own, or refused.

The rule: a top-level name that a TARGET's file imports from beside it is claimed by that folder. An
import of a claimed name finds the claimed file, whenever it runs and whatever else is importable by
then. A second folder that claims the same name is refused at the start. The trap: Python has one
module for each name, and one search path, so the first `import helpers` to run decides for all; one
in a function runs when the petals are served already. So imports are read, not waited for.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from ..._authoring.inspection.foreign import attribute_of
from .._errors import UsageError


class Claims(MetaPathFinder):
    """Which folder's file each claimed name is; in `sys.meta_path`, to find it there."""

    def __init__(self) -> None:
        self._claimed: dict[str, tuple[Path, str]] = {}
        self._folders: set[Path] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where a claimed name is; None leaves it to the others."""
        if path is not None or fullname not in self._claimed:
            return None
        own, _ = self._claimed[fullname]
        folder = own.parent.parent if own.name == "__init__.py" else own.parent
        return PathFinder.find_spec(fullname, [str(folder)])

    def claim(self, file: Path, folder: Path, target: str, *, last: bool = False) -> None:
        """Claim what a file, and the neighbours that it imports, import of a folder.

        Args:
            file: of the TARGET, resolved.
            folder: where its neighbours are.
            target: for error texts.
            last: whether what the search path has takes precedence over a neighbour, as it does
                for a file of a package.

        Raises:
            UsageError: a name is claimed by another folder, or imported from elsewhere already; the
                text has both paths.
        """
        for name, own in _neighbours(file, folder):
            if last and self._is_elsewhere(name, own):
                continue
            other, claimant = self._claimed.get(name, (None, ""))
            if other is not None and other != own:
                raise _taken(target, name, own, f"{claimant!r} imports {str(other)!r} as that")
            loaded = _file_of(sys.modules.get(name))
            if loaded is not None and loaded != own:
                if self._is_of_target(loaded):
                    text = f"another {name!r} is imported already: {str(loaded)!r}"
                    raise _taken(target, name, own, text)
                raise UsageError(
                    f"rename {str(own)!r}: it has the name of a library, {str(loaded)!r}, so that "
                    f"nobody knows which of them {target!r} imports as {name!r}"
                )
            self._claimed[name] = own, target
        self._folders.add(folder)

    def _is_elsewhere(self, name: str, own: Path) -> bool:
        """Whether a name leads somewhere else, which is in no TARGET's folder."""
        found = _file_of(sys.modules.get(name))
        if found is None:
            spec = PathFinder.find_spec(name)
            found = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
        if found is None or found == own:
            return False
        return not self._is_of_target(found)

    def _is_of_target(self, file: Path) -> bool:
        """Whether a module is in the folder of a TARGET."""
        folder = file.parent.parent if file.name == "__init__.py" else file.parent
        return folder in self._folders


def claims() -> Claims:
    """Those of this process."""
    for finder in sys.meta_path:
        if isinstance(finder, Claims):
            return finder
    made = Claims()
    finders: list[object] = list(sys.meta_path)
    # After what is built in, before the search path.
    place = finders.index(PathFinder) if PathFinder in finders else len(finders)
    sys.meta_path.insert(place, made)
    return made


def _taken(target: str, name: str, own: Path, text: str) -> UsageError:
    return UsageError(
        f"{target!r} imports {name!r}, which is {str(own)!r} beside it, and {text}. Rename one of "
        "them, or make each folder a package (with an __init__.py) and write `from . import ...`"
    )


def _file_of(module: ModuleType | None) -> Path | None:
    file = attribute_of(module, "__file__")
    return Path(file).resolve() if isinstance(file, str) else None


def _neighbours(file: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and file of each neighbour that is imported, also by one another."""
    seen: set[Path] = set()
    waiting = [file]
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        absolute, relative = _imported_by(one)
        for name in sorted(absolute - sys.stdlib_module_names):
            own = _neighbour(folder, name)
            if own is not None:
                waiting.append(own)
                yield name, own
        found = (_neighbour(one.parent, name) for name in sorted(relative))
        waiting.extend(own for own in found if own is not None)


def _neighbour(folder: Path, name: str) -> Path | None:
    for path in (folder / name / "__init__.py", folder / f"{name}.py"):
        if path.is_file():
            return path.resolve()
    return None


def _imported_by(file: Path) -> tuple[set[str], set[str]]:
    """The first names of what a file imports, anywhere in it; and those beside it (`from . `).

    Nothing if it cannot be read.
    """
    absolute: set[str] = set()
    relative: set[str] = set()
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return absolute, relative  # importing it says more
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                absolute |= {alias.name.partition(".")[0] for alias in aliases}
            case ast.ImportFrom(level=0, module=str(module)):
                absolute.add(module.partition(".")[0])
            case ast.ImportFrom(level=1, module=str(module)):
                relative.add(module.partition(".")[0])
            case ast.ImportFrom(level=1, names=aliases):
                relative |= {alias.name for alias in aliases}
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ) if not module.startswith("."):
                absolute.add(module.partition(".")[0])
            case _:
                pass
    return absolute, relative
