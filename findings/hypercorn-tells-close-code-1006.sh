#!/bin/sh
# Hypercorn 0.18.0 (asyncio and Trio workers alike): an ASGI application is told close code 1006 when a WebSocket's
# client has closed it, whatever code the client's close frame has. ASGI's `websocket.disconnect` is to carry
# that code; 1006 means that there was no close frame at all. On the wire the client gets its own code back.
# So a handler cannot tell a client that has finished (1000, or a code of its own such as 4001) from a lost link.
#
# Seen: asyncio: client closed with 4001, application was told 1006; trio: the same
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check hypercorn==0.18.0 trio==0.35.0 websockets==15.0.1
cat > app.py <<'PYTHON'
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    await receive()
    await send({"type": "websocket.accept"})
    with open("told", "a") as told:
        told.write(f"{(await receive())['code']}\n")
PYTHON
cat > try.py <<'PYTHON'
import asyncio
import pathlib
import socket
import subprocess
import sys

import websockets

TOLD = pathlib.Path("told")


async def close(port, code):
    for _ in range(100):
        try:
            link = await websockets.connect(f"ws://127.0.0.1:{port}/")
            break
        except OSError:
            await asyncio.sleep(0.1)
    await link.close(code)
    return link.close_code


for worker in ("asyncio", "trio"):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    TOLD.write_text("")
    server = subprocess.Popen(
        [sys.executable, "-m", "hypercorn", "-k", worker, "-b", f"127.0.0.1:{port}", "app:app"],
        stderr=subprocess.DEVNULL,
    )
    try:
        echoed = asyncio.run(close(port, 4001))
        for _ in range(50):
            if TOLD.read_text():
                break
            asyncio.run(asyncio.sleep(0.1))
    finally:
        server.terminate()
        server.wait(10)
    print(worker, "client closed with 4001, got", echoed, "back; application was told", TOLD.read_text().strip())
    assert echoed == 4001, echoed
    assert TOLD.read_text() == "1006\n", TOLD.read_text()
PYTHON
venv/bin/python try.py
