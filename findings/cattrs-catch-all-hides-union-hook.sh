#!/bin/sh
# cattrs 26.2.1: a structure hook that was registered for a union of classes is used until somebody
# registers a hook factory whose predicate is true for everything. Then it is not called any more,
# although it is more specific and nobody has replaced it: it lies in a registry that only the
# built-in factory for unions reads, and the newer factory is asked before that one. The hook of a
# plain class is not lost so. The order of registration makes no difference to the class, and all to
# the union.
#
# Seen: ('union hook', 'class hook') ('catch-all', 'class hook')
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check cattrs==26.2.1 attrs==26.1.0
"$folder/venv/bin/python" - <<'PYTHON'
import attrs
import cattrs


@attrs.frozen
class A:
    x: int


@attrs.frozen
class B:
    x: int


def structured(catch_all):
    converter = cattrs.Converter()
    converter.register_structure_hook(A | B, lambda value, _: "union hook")
    converter.register_structure_hook(A, lambda value, _: "class hook")
    if catch_all:

        @converter.register_structure_hook_factory(lambda _: True)
        def same_as_before(kind, inner):
            return lambda value, _: "catch-all"

    return converter.structure({"x": 1}, A | B), converter.structure({"x": 1}, A)


before, after = structured(False), structured(True)
print(before, after)
assert before == ("union hook", "class hook"), before
assert after == ("catch-all", "class hook"), after
PYTHON
