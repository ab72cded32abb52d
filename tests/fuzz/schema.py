"""What a device says that it serves, as documents and code: nothing of it becomes code."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from petalkit._values.codec import Limits, decode_json
from petalkit._values.errors import PayloadError
from petalkit.cli._schema.asyncapi import Where, write_asyncapi
from petalkit.cli._schema.contract import BadContract, read_contract
from petalkit.cli._schema.json_schema import write_json_schema
from petalkit.cli._schema.python import write_python
from petalkit.cli._schema.typescript import write_typescript

LIMITS = Limits(100_000, 128, 200)
HEAD = "head"
_TOKENS = re.compile(r'/\*\*.*?\*/|//[^\n]*|"(?:[^"\\\n]|\\.)*"', re.DOTALL)
_CODE = re.compile(r"[A-Za-z0-9_$#{}()\[\]<>:;,.?|&=*\s-]*")


def contract(data: bytes) -> None:
    """The answer to `petalkit/info`, as all that is made of it."""
    try:
        said: Any = decode_json(data, LIMITS)
    except PayloadError:
        return
    if not isinstance(said, dict):
        return
    petals, names = said.get("petals"), said.get("commands")
    petals = [one for one in petals if isinstance(one, dict)] if isinstance(petals, list) else []
    names = [one for one in names if isinstance(one, str)] if isinstance(names, list) else []
    schema_hash = said.get("schema_hash")
    try:
        found = read_contract(petals, schema_hash if isinstance(schema_hash, str) else None, names)
        json.loads(write_asyncapi(found, HEAD, Where("acme", "d")))
        json.loads(write_json_schema(found, HEAD))
        python, typescript = write_python(found, HEAD, "trio"), write_typescript(found, HEAD)
    except BadContract as error:
        assert str(error)
        return
    for one in ast.parse(python).body:
        assert isinstance(one, ast.ImportFrom | ast.Assign | ast.AnnAssign | ast.ClassDef)
    code = _TOKENS.sub("", typescript)
    assert _CODE.fullmatch(code)
    for opening, closing in ("{}", "()", "[]"):
        assert code.count(opening) == code.count(closing)
