"""The walk: from an annotation to its node, once, when the table of commands is built.

The rule: whatever cannot be made is refused here, with the place inside the type. A hook that
somebody has registered on the converter takes precedence over everything that is built here, at
any depth.
"""

from __future__ import annotations

import collections
import contextlib
import enum
import pathlib
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, NewType, TypeVar, Union

import attrs

from .choices import enumeration, literal
from .constraints import Constraint
from .containers import MAPPINGS, SEQUENCES, array, fixed_array, mapping
from .hints import Unresolved, alias_value, plain_class, type_name
from .invalid import or_own
from .metadata import constraints_of, of_validator
from .models.defaults import field_problem
from .models.extra_keys import ExtraKeys
from .models.fields import NO_DEFAULT, Field, Kind, kind_of_model, read_model
from .models.objects import finish_model
from .models.pydantic import is_of_pydantic, pydantic_node
from .node import ANY_KIND, OBJECT, CannotBuild, Node, unfinished
from .results import is_array_like, is_written
from .scalars.nodes import SCALARS, anything
from .unions import Tried, union, with_constraints

HookOf = Callable[[Any], Callable[[Any, Any], Any] | None]
HINT = "register a hook on the petal's converter"
# Of these a class of the petal's own is made by calling it with what they give.
_BASES = (int, float, str, bytes, pathlib.Path)


class Types:
    """Builds nodes.

    Args:
        hook_of: the hook that a petal has registered for a type; None when there is none.
        closed: whether every model refuses keys that it does not know.
        results: whether the schemas are of what is written, not of what is read.

    Attributes:
        extra: told by models of keys that they do not have.
    """

    def __init__(self, hook_of: HookOf, *, closed: bool = False, results: bool = False) -> None:
        self._hook_of = hook_of
        self._closed = closed
        self._results = results
        self.extra = ExtraKeys()
        self._tried = Tried()
        self._models: dict[Any, Node] = {}
        self._recursive: set[Node] = set()

    def node(self, annotation: Any) -> Node:
        """What structures a type.

        Raises:
            CannotBuild: it cannot be made from JSON.
        """
        try:
            return self._node(annotation)
        except RecursionError:
            raise CannotBuild(f"{type_name(annotation)} contains itself without end") from None

    def _below(self, segment: str, annotation: Any) -> Node:
        try:
            return self._node(annotation)
        except CannotBuild as error:
            raise error.below(segment) from None

    def _node(self, annotation: Any) -> Node:
        if isinstance(annotation, Unresolved):
            raise CannotBuild(
                f"{annotation}; the type has to be importable where the module is, not only for "
                "type checkers"
            )
        hook = self._hook_of(annotation)
        if hook is not None:
            return _hooked(annotation, hook)
        if annotation is Any or annotation is object:
            return anything(type_name(annotation))
        if annotation is None:
            return SCALARS[type(None)]
        if isinstance(annotation, TypeVar):
            return self._node(_of_variable(annotation))
        if isinstance(annotation, NewType):
            return attrs.evolve(self._node(annotation.__supertype__), name=annotation.__name__)
        if type(annotation).__name__ == "TypeAliasType" or hasattr(annotation, "__value__"):
            return self._alias(annotation)
        if isinstance(annotation, type) and typing.get_origin(annotation) is None:
            found = SCALARS.get(annotation)
            if found is not None:
                return found
        return self._special(annotation) or self._class(annotation)

    def _alias(self, alias: Any) -> Node:
        """What a `type X = ...` stands for, also where X stands in itself."""
        known = self._models.get(alias)
        if known is not None:
            self._recursive.add(known)
            return known
        node = Node(
            name=type_name(alias), structure=unfinished, kinds=ANY_KIND, schema=lambda _: {},
            hashable=False,
        )  # fmt: skip
        self._models[alias] = node
        try:
            made = self._node(alias_value(alias))
        except Unresolved as error:
            raise CannotBuild(str(error)) from None
        finally:
            del self._models[alias]
        if node not in self._recursive:
            return made
        if made is node or node in made.members:
            raise CannotBuild(f"{node.name} is nothing but itself")
        for field in attrs.fields(Node):
            setattr(node, field.name, getattr(made, field.name))
        node.name = type_name(alias)
        node.schema = lambda defs: defs.refer(node, node.name, lambda: made.schema(defs))
        return node

    def _special(self, annotation: Any) -> Node | None:
        """What typing writes in words of its own."""
        origin: Any = typing.get_origin(annotation)
        arguments = typing.get_args(annotation)
        if origin is typing.Annotated:
            return self._annotated(arguments[0], arguments[1:])
        if origin is Union or origin is types.UnionType:
            members = [self._below("", one) for one in arguments]
            return union(members, type_name(annotation), self._tried, read=not self._results)
        if origin is Literal or getattr(origin, "_name", None) == "Literal":
            return literal(annotation)
        name = getattr(origin, "_name", None) or getattr(origin, "__name__", "")
        if name in ("Final", "Required", "NotRequired", "ReadOnly"):
            return self._node(arguments[0])
        if getattr(annotation, "_name", None) == "LiteralString":
            return SCALARS[str]
        return None

    def _annotated(self, inner: Any, metadata: tuple[Any, ...]) -> Node:
        node = self._node(inner)
        found: list[Constraint] = [each for one in metadata for each in constraints_of(one)]
        return with_constraints(node, found, self._tried)

    def _class(self, annotation: Any) -> Node:
        cls = plain_class(annotation)
        if isinstance(cls, type) and issubclass(cls, enum.Enum):
            return enumeration(cls)
        if cls is tuple:
            return self._tuple(annotation)
        if cls in SEQUENCES:
            (element,) = typing.get_args(annotation) or (Any,)
            build = SEQUENCES[cls]
            made: Any = build if isinstance(build, type) else list
            return array(type_name(annotation), self._below("[]", element), build, made)
        if cls in MAPPINGS:
            return self._mapping(annotation, cls)
        if is_of_pydantic(annotation):
            return pydantic_node(annotation, self.extra, result=self._results)
        kind = kind_of_model(annotation)
        if kind is not None:
            return self._model(annotation, kind)
        if isinstance(cls, type):
            for base in _BASES:
                if issubclass(cls, base):
                    return self._subclass(cls, base)
        if self._results:
            return _opaque(annotation, cls)
        raise CannotBuild(f"the type {type_name(annotation)} cannot be made from JSON; {HINT}")

    def _tuple(self, annotation: Any) -> Node:
        arguments = typing.get_args(annotation)
        name = type_name(annotation)
        if annotation is tuple or annotation is typing.Tuple:  # noqa: UP006
            return array(name, anything("Any"), tuple, tuple)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return array(name, self._below("[]", arguments[0]), tuple, tuple)
        arguments = () if arguments == ((),) else arguments
        nodes = [self._below(f"[{index}]", one) for index, one in enumerate(arguments)]
        return fixed_array(name, nodes, tuple, tuple, len(nodes))

    def _mapping(self, annotation: Any, cls: Any) -> Node:
        arguments = typing.get_args(annotation)
        name = type_name(annotation)
        key_type, value_type = arguments or (Any, Any)
        key = None if key_type in (str, Any, object) and not self._hook_of(key_type) else (
            self._below("[key]", key_type)
        )  # fmt: skip
        value = self._below("[...]", value_type)
        make = MAPPINGS[cls]
        if cls is collections.defaultdict:
            factory = plain_class(value_type)
            if not isinstance(factory, type):
                raise CannotBuild(f"{name} has no factory that is known; write dict[...]")
            make = lambda: collections.defaultdict(factory)  # noqa: E731
        return mapping(name, key, value, make, dict)

    def _subclass(self, cls: Any, base: type) -> Node:
        """A class of the petal's own over a plain one: made of what that takes."""
        inner = SCALARS[base]
        convert = inner.structure
        own = or_own(lambda value: cls(convert(value)))
        return attrs.evolve(inner, name=cls.__name__, structure=own, values=(cls,), exact=None)

    def _model(self, annotation: Any, kind: Kind) -> Node:
        known = self._models.get(annotation)
        if known is not None:
            return known
        name = type_name(annotation)
        node = Node(
            name=name, structure=unfinished, kinds=frozenset({OBJECT}), schema=lambda _: {},
            values=(plain_class(annotation),),
        )  # fmt: skip
        self._models[annotation] = node
        try:
            if self._results and is_array_like(plain_class(annotation)):
                del self._models[annotation]
                return _opaque(annotation, plain_class(annotation))
            model = read_model(annotation, kind)
            nodes = [self._field(one) for one in model.fields]
            if kind == "NamedTuple":
                return self._named_tuple(annotation, model.fields, nodes)
            if self._closed:
                model = attrs.evolve(model, closed=True)
            finish_model(node, model, nodes, self.extra, read=not self._results)
        except CannotBuild:
            del self._models[annotation]
            raise
        return node

    def _field(self, field: Field) -> Node:
        node = self._below(f".{field.wire}", field.annotation)
        if field.converted:
            return node
        if field.validator is not None:
            # One that does not fit, the model asks all the same, when it is made.
            with contextlib.suppress(CannotBuild):
                node = with_constraints(node, of_validator(field.validator) or [], self._tried)
        problem = None if self._results else field_problem(node, field.default)
        if problem is not None:
            raise CannotBuild(problem[1], f".{field.wire}{problem[0]}")
        return node

    def _named_tuple(self, cls: Any, fields: tuple[Field, ...], nodes: list[Node]) -> Node:
        made = plain_class(cls)
        least = sum(one.default is NO_DEFAULT for one in fields)
        del self._models[cls]
        return fixed_array(type_name(cls), nodes, or_own(lambda values: made(*values)), made, least)


def _hooked(annotation: Any, hook: Callable[[Any, Any], Any]) -> Node:
    """A type that the petal makes itself; what of JSON it takes, nobody else knows."""
    return Node(
        name=type_name(annotation),
        structure=or_own(lambda value: hook(value, annotation)),
        kinds=ANY_KIND,
        schema=lambda _: {},
        values=(annotation,) if isinstance(annotation, type) else (),
        hashable=getattr(plain_class(annotation), "__hash__", None) is not None,
    )


def _opaque(annotation: Any, cls: Any) -> Node:
    """A result of a class that cannot be read: what it makes of itself, only its values say.

    Raises:
        CannotBuild: there is no JSON for it.
    """
    if not is_written(cls):
        raise CannotBuild(f"there is no JSON for {type_name(annotation)}; {HINT}")
    return anything(type_name(annotation))


def _of_variable(variable: Any) -> Any:
    """What a type variable takes that nobody has bound."""
    if variable.__constraints__:
        return Union[variable.__constraints__]  # noqa: UP007
    bound: Any = variable.__bound__
    if isinstance(bound, typing.ForwardRef):
        raise CannotBuild(f"the bound of {variable} cannot be resolved; write the class there")
    return Any if bound is None else bound
