#!/bin/sh
# msgspec 0.23.0 with attrs 26.1.0: encoding an instance of an attrs class leaves out each field whose
# name begins with an underscore, without an error. A dataclass of the same fields is written whole.
# Decoding into the attrs class wants the field all the same, under its private name: what msgspec has
# encoded it refuses to decode.
#
# Seen: attrs {"y":2}, dataclass {"_x":1,"y":2}
#       Object missing required field `_x`
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check msgspec==0.23.0 attrs==26.1.0
"$folder/venv/bin/python" - <<'PYTHON'
import dataclasses

import attrs
import msgspec


@attrs.frozen
class A:
    _x: int
    y: int


@dataclasses.dataclass
class D:
    _x: int
    y: int


seen = msgspec.json.encode(A(1, 2)), msgspec.json.encode(D(1, 2))
print("attrs", seen[0].decode(), "dataclass", seen[1].decode())
try:
    msgspec.json.decode(seen[0], type=A)
except msgspec.ValidationError as error:
    print(error)
    assert "missing required field `_x`" in str(error), error
else:
    raise AssertionError("it was decoded")
assert seen == (b'{"y":2}', b'{"_x":1,"y":2}'), seen
PYTHON
