"""All TARGETs to the petals that are served together.

A petal that is named has to be served. One of a folder is one author's among many: what is wrong
with it is told, and the others are served.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ..._authoring.petal import Petal
from ..._serving.jobs.commands.declared import declared_table
from ..._serving.loggers import enable_again
from ..._values.errors import PetalkitError
from .._errors import UsageError
from .._settings.loading import near_match
from .host_petals import HostPetals, petal_name
from .making import Maker
from .places import Target, read_target

logger = logging.getLogger("petalkit.settings")


def load_targets(
    targets: Sequence[str],
    petal_tables: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    origin: str | None = None,
    host: HostPetals | None = None,
) -> list[Petal]:
    """The petals that the targets name, made with their tables of the configuration file.

    Args:
        targets: `module:Name`, `path/to/file.py:Name`, or the name of an entry point of the
            group `petalkit.petals`; or a folder, for the petals of its files. `Name` is a petal's
            class, an instance, or a callable that returns one; it may be left out where exactly one
            petal is defined.
        petal_tables: keyword arguments for constructors and factories, by the petal's name.
        origin: the file that the tables stand in, for error texts.
        host: given, the targets may be petals of the host, and entry points of its group.

    Raises:
        UsageError: a target leads to no petal, a table to no constructor, or a petal of a folder
            cannot be served.
    """
    return find_petals(targets, petal_tables, origin=origin, host=host, strict=True).petals


@attrs.frozen
class Wrong:
    """A petal of a folder that cannot be served.

    Attributes:
        target: its file.
        message: what is wrong, in one line.
        details: more lines, such as the author's own part of a traceback.
    """

    target: str
    message: str
    details: str = ""


@attrs.frozen
class Found:
    """What targets lead to.

    Attributes:
        petals: to be served together.
        wrong: those of folders that cannot be.
    """

    petals: list[Petal]
    wrong: tuple[Wrong, ...] = ()


def find_petals(
    targets: Sequence[str],
    petal_tables: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    origin: str | None = None,
    host: HostPetals | None = None,
    strict: bool = False,
) -> Found:
    """As `load_targets`; of a folder, what can be served, beside what cannot.

    A petal that is named has to be served. One of a folder is one author's among many: what is
    wrong with it is told, and the others are served.

    Args:
        targets: see `load_targets`; a folder stands for the petals of its files.
        petal_tables: see `load_targets`.
        origin: see `load_targets`.
        host: see `load_targets`.
        strict: whether what is wrong in a folder is raised.

    Raises:
        UsageError, RegistrationError: a target that is named leads to no petal, a table to no
            constructor, a folder to nothing that can be served; with `strict`, the first mistake.
    """
    # Before anything is imported, which may change what a relative path means.
    wanted = [read_target(one) for one in targets]
    maker = Maker(dict(petal_tables or {}), origin, host)
    made: list[Any] = []
    wrong: list[Wrong] = []
    for target in wanted:
        if target.files is None:
            made.append(maker.make(target))
            enable_again(target.text)
        else:
            _make_folder(target, maker, made, wrong, strict=strict)
    if not made:
        raise UsageError(
            "no petal is left to serve: "
            + "; ".join(f"{one.target}: {one.message}" for one in wrong)
        )
    names = [petal_name(one) for one in made]
    for name in sorted(maker.tables.keys() - set(names)):
        if wrong:  # it may be of one of those
            break
        hint = near_match(name, names)
        served = ", ".join(names)
        raise UsageError(f"[petals.{name}] in {origin}: no petal of that name ({served}){hint}")
    if host is not None:
        wrapped = iter(host.adapt([one for one in made if not issubclass(type(one), Petal)]))
        made = [one if issubclass(type(one), Petal) else next(wrapped) for one in made]
    return Found(made, tuple(wrong))


def _make_folder(
    folder: Target, maker: Maker, made: list[Any], wrong: list[Wrong], *, strict: bool
) -> None:
    """Add what a folder has to those made, and to what is wrong."""
    before = len(made), len(wrong)
    for file in folder.files or ():
        try:
            for make in maker.makers(file):
                petal = make()
                _check_beside(petal, made)
                made.append(petal)
        except (UsageError, PetalkitError) as error:
            details = error.details if isinstance(error, UsageError) else ""
            if strict:
                raise UsageError(f"{file.text}: {error}", details=details) from None
            wrong.append(Wrong(file.text, str(error), details))
        enable_again(file.text)
    others = shlex.join(folder.left_out)
    if (len(made), len(wrong)) == before:
        found = f"; its sub-folders are TARGETs of their own: {others}" if others else ""
        raise UsageError(
            f"{folder.text!r} is a folder, and no file in it defines a petal: write a class with a "
            "base petalkit.Petal and a name in a file there, which is a .py and begins with no _"
            f"{found}"
        )
    if others:
        logger.warning(
            "%r: sub-folders are not looked into; to serve their petals too, add %s",
            folder.text,
            others,
        )


def _check_beside(petal: Any, others: Sequence[Any]) -> None:
    """Whether it can be served, by itself and beside those before it."""
    if issubclass(type(petal), Petal):
        declared_table([one for one in (*others, petal) if issubclass(type(one), Petal)])
