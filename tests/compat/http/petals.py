"""Petals with HTTP and WebSocket endpoints, in the forms that published ones have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse, StreamingResponse
from pydantic import BaseModel, Field

from petalkit.compat import Petal, http_action, mqtt_action, websocket_action


class Mission(BaseModel):
    height: int = Field(ge=0)


class Accepted(BaseModel):
    height: int


async def speed() -> int:
    await asyncio.sleep(0)
    return 5


class MissionPetal(Petal):
    """What can be stopped by HTTP alone."""

    name = "mission-petal"
    version = "1.0.0"

    def __init__(self, name: str | None = None) -> None:
        super().__init__()
        if name is not None:
            self.name = name
        self.seen: list[Any] = []
        self.ended = asyncio.Event()

    def startup(self) -> None:
        self.lock = asyncio.Lock()

        async def later() -> dict[str, str]:
            return {"attached": "in startup"}

        later.__petal_action__ = {  # type: ignore[attr-defined]
            "protocol": "http", "method": "GET", "path": "/later",
        }  # fmt: skip
        self._later = later

    @property
    def not_yet(self) -> None:
        raise RuntimeError("asked before there is one")

    @mqtt_action("status")
    async def status(self, topic: str, message: dict[str, Any]) -> None:
        await self._proxies["mqtt"].send_command_response(
            message["messageId"], {"success": True, "seen": len(self.seen)}
        )

    @http_action("POST", "/plan", response_model=Accepted, status_code=202, tags=["mission"])
    async def plan(
        self, mission: Mission, speed: Annotated[int, Depends(speed)], fast: bool = False
    ) -> dict[str, Any]:
        """Plan a mission."""
        async with self.lock:
            await asyncio.sleep(0)
        assert asyncio.get_running_loop() is self._loop
        self.seen.append((mission.height, speed, fast))
        return {"height": mission.height, "left": "out by the model"}

    @http_action("POST", "/abort")
    async def abort(self) -> dict[str, str]:
        self.seen.append("abort")
        return {"status": "aborted"}

    @http_action("POST", "/hold")
    async def hold(self) -> dict[str, str]:
        self.seen.append("hold")
        try:
            await self.ended.wait()
        except asyncio.CancelledError:
            self.seen.append("cancelled")
            raise
        return {"status": "held"}

    @http_action("GET", "/refuse")
    async def refuse(self) -> None:
        raise HTTPException(409, "a mission runs")

    @http_action("GET", "/fail")
    async def fail(self) -> None:
        raise ValueError("what the caller is not to see")

    @http_action("GET", "/ui", response_class=HTMLResponse)
    def ui(self) -> str:
        return "<h1>Mission</h1>"

    @http_action("POST", "/size")
    async def size(self, request: Request) -> dict[str, int]:
        return {"size": len(await request.body())}

    @http_action("GET", "/big")
    async def big(self, size: int) -> Response:
        return Response(b"x" * size)

    @http_action("GET", "/ticks")
    async def ticks(self) -> StreamingResponse:
        async def run() -> AsyncGenerator[str]:
            try:
                for n in range(1000):
                    yield f"{n}\n"
                    await asyncio.sleep(0.05)
            finally:
                self.seen.append("ticks ended")

        return StreamingResponse(run(), media_type="text/plain")

    @websocket_action("/ws/echo", name="echo")
    async def echo(self, websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                text = await websocket.receive_text()
                if text == "fail":
                    raise ValueError("what the caller is not to see")
                await websocket.send_text(text.upper())
        except WebSocketDisconnect as gone:
            self.seen.append(gone.code)

    @websocket_action("/ws/talk")
    async def talk(self, websocket: WebSocket) -> None:
        """Sends, and never reads."""
        await websocket.accept()
        try:
            while True:
                await websocket.send_text("x" * 1000)
                await asyncio.sleep(0.01)
        except WebSocketDisconnect:
            self.seen.append("talk ended")


class PagePetal(Petal):
    """Serves a page of its own, made from a template."""

    name = "page-petal"
    version = "1.0.0"
    static_dir = True
    template_dir = True

    @http_action("GET", "/page", response_class=HTMLResponse)
    async def page(self, request: Request) -> Any:
        return self.templates["default"].TemplateResponse(request, "page.html", {"who": "<you>"})


def write_pages(folder: Path, petal: str = "page-petal") -> None:
    """Static files and templates as the host has them."""
    for kind in ("static", "templates"):
        (folder / kind / petal).mkdir(parents=True)
    (folder / "static" / petal / "style.css").write_text("h1 {}")
    (folder / "templates" / petal / "page.html").write_text("<h1>{{ who }}</h1>")
