"""TARGET to petal: what it leads to is an instance, or is called to make one.

Petals of the host (see `_host_petals`) are made as our own are, and then wrapped, all together.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, TypeGuard

import attrs

from ..._authoring.declared import check_petal
from ..._authoring.petal import Petal
from ..._authoring.registry import build_table
from ..._serving.loggers import enable_again
from ..._values.errors import PetalkitError
from .._errors import UsageError
from .._settings.loading import near_match
from .host_petals import HostPetals, is_host_petal, petal_name
from .importing import (
    ENTRY_POINT_GROUP,
    HOST_ENTRY_POINT_GROUP,
    TRY_HOST_COMPAT,
    attribute,
    guarded,
    import_place,
    is_file,
    is_folder,
    load_entry_point,
    petal_files,
    split_target,
)
from .petal_options import construct


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
    maker = _Maker(dict(petal_tables or {}), origin, host)
    made: list[Any] = []
    wrong: list[Wrong] = []
    for target in targets:
        if not is_folder(target):
            made.append(maker.make(target))
            enable_again(target)
            continue
        before = len(made), len(wrong)
        for file in petal_files(target):
            try:
                for make in maker.makers(file):
                    petal = make()
                    _check_beside(petal, made)
                    made.append(petal)
            except (UsageError, PetalkitError) as error:
                details = error.details if isinstance(error, UsageError) else ""
                if strict:
                    raise UsageError(f"{file}: {error}", details=details) from None
                wrong.append(Wrong(file, str(error), details))
            enable_again(file)
        if (len(made), len(wrong)) == before:
            raise UsageError(f"{target!r} is a folder, and no file in it defines a petal")
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
        wrapped = iter(host.adapt([one for one in made if not isinstance(one, Petal)]))
        made = [one if isinstance(one, Petal) else next(wrapped) for one in made]
    return Found(made, tuple(wrong))


def _check_beside(petal: Any, others: Sequence[Any]) -> None:
    """Whether it can be served, by itself and beside those before it."""
    if isinstance(petal, Petal):
        build_table([one for one in (*others, petal) if isinstance(one, Petal)])


class _Maker:
    """Makes petals, ours and the host's.

    Args:
        tables: keyword arguments, by the petal's name.
        origin: the file that they stand in.
        host: None when only our own petals are wanted.
    """

    def __init__(
        self,
        tables: Mapping[str, Mapping[str, Any]],
        origin: str | None,
        host: HostPetals | None,
    ) -> None:
        self.tables = tables
        self._origin = origin
        self._host = host
        self._groups = [ENTRY_POINT_GROUP, *([HOST_ENTRY_POINT_GROUP] if host else [])]

    def make(self, target: str) -> Any:
        """The petal of a target; one of the host as it is, not wrapped yet."""
        found = self._find(target)
        if self._is_class(found):
            return self._make_of_class(target, found)
        if self._is_petal(found):
            name = petal_name(self._checked(found))
            if name in self.tables:
                raise UsageError(
                    f"[petals.{name}] in {self._origin}: {target!r} is an instance already; "
                    "name its class or a factory"
                )
            return found
        self._refuse_host_petal(found, f"{target!r} is")
        if not callable(found) or inspect.isclass(found):
            raise UsageError(f"{target!r} is neither a petal nor makes one: {type(found).__name__}")
        return self._make_by_factory(target, found)

    def _is_class(self, found: Any) -> TypeGuard[type]:
        return inspect.isclass(found) and (
            issubclass(found, Petal) or (self._host is not None and is_host_petal(found))
        )

    def _is_petal(self, made: Any) -> bool:
        if inspect.isclass(made):
            return False
        return isinstance(made, Petal) or (self._host is not None and is_host_petal(made))

    def _refuse_host_petal(self, found: Any, what: str) -> None:
        if self._host is None and is_host_petal(found):
            raise UsageError(f"{what} a petal of the host{TRY_HOST_COMPAT}")

    def _checked(self, petal: Any) -> Any:
        """Its table is found by its name, so that comes first."""
        if isinstance(petal, Petal):
            check_petal(petal)
        return petal

    def _table_name(self, name: object) -> str:
        return f"[petals.{name}] in {self._origin or 'a file given by --config'}"

    # -- what a target leads to

    def makers(self, file: str) -> list[Callable[[], Any]]:
        """What makes the petals of a file of a folder: one for each that it defines."""
        defined, _ = self._defined(import_place(file, file, self._groups))
        # A base without a name, for petals beside it, is none itself.
        bases = {base for one in defined for base in one.__mro__[1:]}
        petals = [one for one in defined if one not in bases or getattr(one, "name", None)]
        return [functools.partial(self._make_of_class, file, one) for one in petals]

    def _make_of_class(self, target: str, cls: type) -> Any:
        name = getattr(cls, "name", None)
        table: Mapping[str, Any] = self.tables.get(name, {}) if isinstance(name, str) else {}
        return self._checked(guarded(target, construct, cls, table, self._table_name(name)))

    def _find(self, target: str) -> Any:
        place, name = split_target(target)
        if not name and not is_file(place):
            found = load_entry_point(target, self._groups)
            if found is not None:
                return found
        module = import_place(place, target, self._groups)
        return attribute(module, name, target) if name else self._pick(module, target)

    def _pick(self, module: ModuleType, target: str) -> Any:
        """The one petal that is defined in a module."""
        defined, own = self._defined(module)
        if len(defined) == 1:
            return defined[0]
        if not defined:
            for value in own:
                self._refuse_host_petal(value, f"{target!r}: {value.__name__} is")
            raise UsageError(f"{target!r}: no petal is defined in {module.__name__}")
        names = ", ".join(f"{target}:{petal.__name__}" for petal in defined)
        raise UsageError(f"{target!r} has several petals; choose one of {names}")

    def _defined(self, module: ModuleType) -> tuple[list[type], list[type]]:
        """The petals that are defined in a module, and all its classes; each once, whatever names
        it has there.
        """
        own = dict.fromkeys(
            value
            for value in vars(module).values()
            if inspect.isclass(value)
            and value.__module__ == module.__name__
            and not inspect.isabstract(value)
        )
        return [value for value in own if self._is_class(value)], list(own)

    # -- factories

    def _make_by_factory(self, target: str, factory: Any) -> Any:
        """Only the petal that a factory returns knows its name: its annotation tells the table."""
        table: Mapping[str, Any] = {}
        name = getattr(_return_type(factory), "name", None)
        if isinstance(name, str):
            table = self.tables.get(name, {})
        if name is None and (needs := _required(factory)):
            raise UsageError(
                f"{target!r} is called without arguments to make a petal, and needs {needs}; is it "
                "a factory? Then annotate what it returns, and set them in that petal's table"
            )
        petal = guarded(target, construct, factory, table, self._table_name(name))
        if inspect.iscoroutine(petal):
            petal.close()
            raise UsageError(f"{target!r} is an async function; a factory is a plain one")
        if not self._is_petal(petal):
            self._refuse_host_petal(petal, f"{target!r} returned")
            raise UsageError(f"{target!r} returned {type(petal).__name__}, and not a petal")
        name = petal_name(self._checked(petal))
        if name in self.tables and not table:
            raise UsageError(
                f"[petals.{name}] in {self._origin}: annotate what {target!r} returns with "
                "the petal's class, so that its table can be found before it is called"
            )
        return petal


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
