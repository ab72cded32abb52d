"""A TARGET to petals: what it leads to is an instance, or is called to make one.

Petals of the host (see `host_petals`) are made as our own are, and wrapped later, all together. A
petal's table is found by the name that its class has, since its constructor is called with it.
"""

from __future__ import annotations

import functools
import inspect
import shlex
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, TypeGuard

from ..._authoring.declared import check_petal
from ..._authoring.inspection.foreign import attribute_of, is_abstract, is_class
from ..._authoring.petal import Petal
from .._errors import UsageError
from .guarding import TRY_HOST_COMPAT, guarded
from .host_petals import HostPetals, is_host_petal, petal_name
from .importing import attribute, import_place, load_entry_point
from .petal_options import construct, required
from .places import (
    ENTRY_POINT_GROUP,
    HOST_ENTRY_POINT_GROUP,
    PetalFile,
    Target,
    distribution_hint,
    is_file,
)


class Maker:
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

    def make(self, wanted: Target) -> Any:
        """The petal of a target; one of the host as it is, not wrapped yet."""
        target = wanted.text
        found = self._find(wanted)
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
        if not callable(found) or is_class(found):
            raise UsageError(f"{target!r} is neither a petal nor makes one: {type(found).__name__}")
        return self._make_by_factory(target, found)

    def _is_class(self, found: Any) -> TypeGuard[type]:
        return is_class(found) and (
            issubclass(found, Petal) or (self._host is not None and is_host_petal(found))
        )

    def _is_petal(self, made: Any) -> bool:
        if is_class(made):
            return False
        return issubclass(type(made), Petal) or (self._host is not None and is_host_petal(made))

    def _refuse_host_petal(self, found: Any, what: str) -> None:
        if self._host is None and is_host_petal(found):
            raise UsageError(f"{what} a petal of the host{TRY_HOST_COMPAT}")

    def _checked(self, petal: Any) -> Any:
        """Its table is found by its name, so that comes first."""
        if issubclass(type(petal), Petal):
            check_petal(petal)
        return petal

    def _table_name(self, name: object) -> str:
        return f"[petals.{name}] in {self._origin or 'a file given by --config'}"

    # -- what a target leads to

    def makers(self, file: PetalFile) -> list[Callable[[], Any]]:
        """What makes the petals of a file of a folder: one for each that it defines."""
        petals, _ = self._defined(import_place(file.path, file.text, self._groups))
        return [functools.partial(self._make_of_class, file.text, one) for one in petals]

    def _make_of_class(self, target: str, cls: type) -> Any:
        name = attribute_of(cls, "name")
        if not isinstance(name, str) and (needs := required(cls)):
            raise UsageError(
                f"{target!r}: {cls.__name__} needs {', '.join(needs)}, which come from its table, "
                'and that is found by the name of the class: write name = "my-petal" in the class, '
                f"and not in __init__, and set them under {self._table_name('my-petal')}"
            )
        table: Mapping[str, Any] = self.tables.get(name, {}) if isinstance(name, str) else {}
        making = f"making {cls.__name__}()"
        place = self._table_name(name)
        petal = self._checked(guarded(target, construct, cls, table, place, doing=making))
        made = petal_name(petal)
        if made in self.tables and not table:
            raise UsageError(
                f"[petals.{made}] in {self._origin}: {target!r} sets its name when it is made; "
                f'write name = "{made}" in the class, so that its table can be found before'
            )
        return petal

    def _find(self, wanted: Target) -> Any:
        if not wanted.name and not is_file(wanted.place):
            found = load_entry_point(wanted.text, self._groups)
            if found is not None:
                return found
        module = import_place(wanted.place, wanted.text, self._groups)
        if wanted.name:
            return attribute(module, wanted.name, wanted.text)
        return self._pick(module, wanted.text)

    def _pick(self, module: ModuleType, target: str) -> Any:
        """The one petal that is defined in a module."""
        defined, own = self._defined(module)
        if len(defined) == 1:
            return defined[0]
        if not defined:
            for value in own:
                self._refuse_host_petal(value, f"{target!r}: {value.__name__} is")
            hint = distribution_hint(target, self._groups)
            raise UsageError(f"{target!r}: no petal is defined in {module.__name__}{hint}")
        names = ", ".join(shlex.quote(f"{target}:{petal.__name__}") for petal in defined)
        raise UsageError(f"{target!r} has several petals; choose one of {names}")

    def _defined(self, module: ModuleType) -> tuple[list[type], list[type]]:
        """The petals that are defined in a module, and all its classes; each once, whatever names
        it has there.
        """
        # By identity: what stands in a module may be anything, and says what it likes of itself.
        own = {
            id(value): value
            for value in list(vars(module).values())
            if is_class(value)
            and attribute_of(value, "__module__") == module.__name__
            and not is_abstract(value)
        }
        petals = [value for value in own.values() if self._is_class(value)]
        # A base without a name, for petals beside it, is none itself.
        bases = {id(base) for one in petals for base in one.__mro__[1:]}
        named = [one for one in petals if id(one) not in bases or attribute_of(one, "name")]
        return named, list(own.values())

    # -- factories

    def _make_by_factory(self, target: str, factory: Any) -> Any:
        """Only the petal that a factory returns knows its name: its annotation tells the table."""
        table: Mapping[str, Any] = {}
        name = attribute_of(_return_type(factory), "name")
        if isinstance(name, str):
            table = self.tables.get(name, {})
        if name is None and (needs := ", ".join(required(factory))):
            raise UsageError(
                f"{target!r} is called without arguments to make a petal, and needs {needs}; is it "
                "a factory? Then annotate what it returns, and set them in that petal's table"
            )
        place = self._table_name(name)
        petal = guarded(target, construct, factory, table, place, doing="calling it")
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


def _return_type(factory: Any) -> Any:
    try:
        return inspect.get_annotations(factory, eval_str=True).get("return")
    except Exception:
        return None
