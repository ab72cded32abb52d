"""Part of scripts/side-by-side: one petal's answers on all of its HTTP doors, on one of two sides.

The doors are those that the side's own `/openapi.json` has, with what it says of each, and the
WebSockets that the petal marks, of which the handshake is compared.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import socket
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import httpx
from _side_by_side import (
    DEVICE,
    MADE_UP,
    MORE,
    answer,
    make_on_host,
    make_petal,
    set_up_on_host,
    stand_ins,
)

BODIES: tuple[bytes | None, ...] = (None, b"{}", b'{"rotor_count": 4}', b"{", b"[1]")
LIMIT = 20.0  # seconds for one answer
TIMES = ("uptime_seconds",)  # beside what looks like one
SEEN = 2000  # characters of an answer that are compared
HANDSHAKE = (
    "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

Answers = dict[str, Any]


def comparable(text: str) -> str:
    """Without times, and IDs that each side makes up."""
    try:
        value = _without_times(json.loads(text))
    except ValueError:
        return MADE_UP.sub("<made up>", text)[:SEEN]
    return MADE_UP.sub("<made up>", json.dumps(value, sort_keys=True))[:SEEN]


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_times(value[key])
            for key in value
            if not (key in TIMES or (isinstance(value[key], float) and value[key] > 1e9))
        }
    return [_without_times(one) for one in value] if isinstance(value, list) else value


def doors(spec: dict[str, Any], petal: str) -> Iterator[tuple[str, str]]:
    for path in sorted(spec["paths"]):
        if path.startswith(f"/petals/{petal}/"):
            for method in sorted(spec["paths"][path]):
                yield method.upper(), path


def ask_all(port: int, petal: Any, target: str) -> Answers:
    """In a thread, while the petal is served."""
    bodies = (*BODIES, *(json.dumps(one).encode() for one in MORE.get(target, ())))
    answers: Answers = {}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=LIMIT) as client:
        spec = client.get("/openapi.json").json()
        for method, path in doors(spec, petal.name):
            answers[f"description of {method} {path}"] = spec["paths"][path][method.lower()]
            for body in bodies if method in ("POST", "PUT", "PATCH") else BODIES[:1]:
                headers = {} if body is None else {"content-type": "application/json"}
                with client.stream(method, path, content=body, headers=headers) as answer:
                    kind = answer.headers.get("content-type", "")
                    stream = kind.startswith("text/event-stream")
                    text = "" if stream else answer.read().decode("utf-8", "replace")
                answers[f"{method} {path} {body!r}"] = [
                    answer.status_code, kind, comparable(text),
                ]  # fmt: skip
        for path in ("/petals/nobody/x", f"/petals/{petal.name}/no-such-door"):
            answers[f"GET {path}"] = client.get(path).status_code
    answers.update({f"WS {path}": handshake(port, path) for path in sockets(petal)})
    return answers


def sockets(petal: Any) -> Iterator[str]:
    for name in dir(type(petal)):
        mark = getattr(getattr(type(petal), name, None), "__petal_action__", None)
        if isinstance(mark, dict) and mark.get("protocol") == "websocket":
            yield f"/petals/{petal.name}{mark['path']}"


def handshake(port: int, path: str) -> str:
    with socket.create_connection(("127.0.0.1", port), LIMIT) as one:
        one.sendall(HANDSHAKE.format(path).encode())
        return one.recv(4096).split(b"\r\n")[0].split(b" ")[1].decode()


async def on_the_host(target: str) -> Answers:
    import uvicorn
    from fastapi import FastAPI

    loader: Any = importlib.import_module("petal_app_manager.plugins.loader")
    petal, _ = make_on_host(target)
    app = FastAPI()
    loader.startup_petals(app, [petal], logging.getLogger("host"))
    await set_up_on_host(petal)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.05)
        assert not serving.done()
    port = server.servers[0].sockets[0].getsockname()[1]
    return await asyncio.to_thread(ask_all, port, petal, target)


async def on_petalkit(target: str) -> Answers:
    import trio

    from petalkit import Settings
    from petalkit.compat import adapt
    from petalkit.testing import open_harness

    petal = make_petal(target)
    (adapted,) = adapt(petal, proxies=stand_ins())
    settings = Settings(compat_http="127.0.0.1:0", organization_id="acme", device_id=DEVICE)
    async with open_harness(adapted, settings=settings) as harness:
        commands: Any = adapted
        service: Any = adapted.__petalkit_service__
        with trio.fail_after(LIMIT):
            await harness.wait_connected()
            await commands.settled.wait()
            while service.port is None:  # noqa: ASYNC110
                await trio.sleep(0.05)
        return await trio.to_thread.run_sync(ask_all, service.port, petal, target)


def main() -> NoReturn:
    side, target, file = sys.argv[1:]
    answer(side, target, file, on_the_host, on_petalkit)


if __name__ == "__main__":
    main()
