#!/bin/sh
# trio-asyncio 0.16.0 with AnyIO 4.15.0 (CPython 3.11): trio-asyncio replaces `asyncio.get_running_loop` when it is imported.
# AnyIO's asyncio backend takes that function with `from asyncio import get_running_loop`. So whether an asyncio library that
# uses AnyIO (Starlette and FastAPI run plain endpoints with it) works inside trio-asyncio is decided by which of the two was
# imported first, perhaps by a plug-in of a test runner: trio-asyncio first works; AnyIO's backend first fails in the
# middle of a call, in code of the standard library's that does have a running loop.
#
# Seen: trio_asyncio first: 42; anyio first: RuntimeError no running event loop
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check trio==0.35.0 trio-asyncio==0.16.0 anyio==4.15.0
cat > try.py <<'PYTHON'
import importlib
import sys

for name in sys.argv[1:]:
    importlib.import_module(name)

import anyio.to_thread
import trio
import trio_asyncio


async def call():
    return await anyio.to_thread.run_sync(lambda: 42)


async def main():
    async with trio_asyncio.open_loop():
        try:
            return await trio_asyncio.aio_as_trio(call)()
        except RuntimeError as error:
            return f"RuntimeError {error}"


print(trio.run(main))
PYTHON
first=$(venv/bin/python try.py trio_asyncio anyio._backends._asyncio)
second=$(venv/bin/python try.py anyio._backends._asyncio trio_asyncio)
printf '%s\n' "trio_asyncio first: $first" "anyio first: $second"
test "$first" = 42
test "$second" = "RuntimeError no running event loop"
