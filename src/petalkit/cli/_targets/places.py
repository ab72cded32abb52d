"""The word TARGET: module, file, folder or entry point, and the name behind its colon.

The rule: what a relative path means is settled before anything is imported, since what is imported
may change the current folder. Nothing is imported here; files are read at most.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from .._errors import UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "petalkit.petals"
HOST_ENTRY_POINT_GROUP = "petal.plugins"
_LIBRARIES = frozenset({"petalkit", "petal_app_manager"})  # what petals derive from
_READ_MAX = 1024 * 1024  # bytes of a file of a sub-folder


@attrs.frozen
class PetalFile:
    """A file of a folder.

    Attributes:
        text: its path for people, as the folder was typed.
        path: its path.
    """

    text: str
    path: str


@attrs.frozen
class Target:
    """A TARGET, read.

    Attributes:
        text: as it was typed.
        place: what stands before the colon: a module, or a file's absolute path.
        name: what stands behind it; empty when it is left out.
        files: of a folder, those that may define petals; None when it is none.
        left_out: of a folder, the TARGETs of sub-folders that define petals.
    """

    text: str
    place: str
    name: str
    files: tuple[PetalFile, ...] | None = None
    left_out: tuple[str, ...] = ()


def read_target(text: str) -> Target:
    """Read a TARGET.

    Raises:
        UsageError: nothing stands after the colon, or a folder cannot be read.
    """
    if _is_folder(text):
        try:
            files = tuple(PetalFile(one, os.path.abspath(one)) for one in _petal_files(text))
            return Target(text, os.path.abspath(text), "", files, tuple(_left_out(text)))
        except OSError as error:
            raise UsageError(f"{text!r} cannot be read: {error.strerror}") from None
    place, name = split_target(text)
    return Target(text, str(Path(place).absolute()) if is_file(place) else place, name)


def split_target(target: str) -> tuple[str, str]:
    """A TARGET's place, and the name in it; the name is empty when it is left out.

    Raises:
        UsageError: nothing stands after the colon.
    """
    place, colon, name = target.rpartition(":")
    if not colon or (os.name == "nt" and len(place) == 1):
        place, name = target, ""
    elif not name:
        raise UsageError(
            f"{target!r}: nothing stands after the colon; write {shlex.quote(f'{place}:MyPetal')}"
        )
    return place, name


def is_file(place: str) -> bool:
    """Whether a place is meant as a file."""
    return place.endswith(".py") or os.sep in place


def entry_points_of(group: str) -> Iterable[EntryPoint]:
    """The entry points of a group."""
    from importlib.metadata import entry_points  # which brings the parser of e-mail along

    return entry_points(group=group)


def entry_names(groups: Sequence[str]) -> set[str]:
    """The entry points of some groups."""
    return {entry.name for group in groups for entry in entry_points_of(group)}


def distribution_hint(target: str, groups: Sequence[str]) -> str:
    """The entry points of the distribution of that name: what pip installs it by is no TARGET."""
    wanted = _normal(target)
    entries = [entry for one in groups for entry in entry_points_of(one)]
    mine = [one for one in entries if one.dist is not None and _normal(one.dist.name) == wanted]
    if not mine:
        return ""
    names = ", ".join(sorted({one.name for one in mine}))
    return f"; the distribution {target!r} has the entry points {names}: write one of them"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_folder(target: str) -> bool:
    """Whether a target is a folder, of files that define petals."""
    return os.path.isdir(target) and (os.sep in target or not _is_entry_or_module(target))


def _is_entry_or_module(name: str) -> bool:
    """A plain word is a module or an entry point where there is one, also beside such a folder."""
    return Path(name, "__init__.py").is_file() or name in entry_names(
        [ENTRY_POINT_GROUP, HOST_ENTRY_POINT_GROUP]
    )


def _petal_files(folder: str) -> list[str]:
    """Its files that may define petals, in order: not those whose names begin with `_` or `.`."""
    return sorted(
        os.path.join(folder, entry.name)
        for entry in os.scandir(folder)
        if entry.name.endswith(".py") and not _is_private(entry.name) and entry.is_file()
    )


def _is_private(name: str) -> bool:
    return name.startswith(("_", "."))


# -- what a folder leaves out


def _left_out(folder: str) -> Iterator[str]:
    """What to give as TARGETs for the sub-folders that define petals; they are only read here."""
    for entry in sorted(os.scandir(folder), key=lambda one: one.name):
        if _is_private(entry.name) or not entry.is_dir():
            continue
        below = os.path.join(folder, entry.name)
        if os.path.samefile(below, folder):  # by a link
            continue
        try:
            files = _petal_files(below)
        except OSError:
            continue
        whole = os.path.join(below, "__init__.py")
        if any(map(_defines_petal, files)):
            yield below
        elif _defines_petal(whole):
            yield whole


def _defines_petal(path: str) -> bool:
    """Whether it looks as if a file did: it imports what petals derive from, and derives."""
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read(_READ_MAX))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return False
    derives = any(isinstance(one, ast.ClassDef) and one.bases for one in tree.body)
    return derives and any(
        name.partition(".")[0] in _LIBRARIES for one in ast.walk(tree) for name in _imported(one)
    )


def _imported(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=aliases):
            yield from (alias.name for alias in aliases)
        case ast.ImportFrom(level=0, module=str(module)):
            yield module
        case _:
            pass
