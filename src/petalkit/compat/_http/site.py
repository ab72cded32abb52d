"""The FastAPI application of all petals that are served, as the host puts it together.

    /petals/{petal}/...       their endpoints
    /static/{petal}/...       their files
    /health...                how all is; see `health`
    /docs, /openapi.json      what FastAPI makes of it

The rule: one endpoint that FastAPI refuses is told, and the petal's others are served. The
application is made anew when a petal comes or goes; a request goes on with the one it began with.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates

from ..._values.basics.version import __version__
from .endpoints import Endpoint, endpoints_of, prefix_of
from .health import Document, Health

_NOT_FOR_ROUTES = ("tags",)  # which the host leaves out too: a petal has one, its name


@attrs.frozen
class Pages:
    """What of a petal is served.

    Attributes:
        name: of the petal.
        router: its endpoints.
        static: the folder of its files; None for none.
        served: how many endpoints.
        refused: what FastAPI does not take, and why.
    """

    name: str
    router: APIRouter
    static: Path | None
    served: int
    refused: tuple[str, ...]


def make_pages(name: str, petal: Any, static: Path | None) -> Pages:
    """Put a petal's endpoints together.

    Args:
        name: of the petal.
        petal: of the guide, started.
        static: the folder of its files.
    """
    router = APIRouter(prefix=prefix_of(name), tags=[name])
    refused: list[str] = []
    found = endpoints_of(petal)
    for endpoint in found:
        try:
            _add(router, endpoint)
        except Exception as error:  # whatever FastAPI thinks of a signature
            refused.append(
                f"{endpoint.method} {prefix_of(name)}{endpoint.path}: "
                f"{type(error).__name__}: {error}"
            )
    return Pages(name, router, static, len(found) - len(refused), tuple(refused))


def _add(router: APIRouter, endpoint: Endpoint) -> None:
    options: dict[str, Any] = dict(endpoint.options)
    if endpoint.protocol == "websocket":
        router.add_api_websocket_route(endpoint.path, endpoint.function, **options)
        return
    for name in _NOT_FOR_ROUTES:
        options.pop(name, None)
    router.add_api_route(endpoint.path, endpoint.function, methods=[endpoint.method], **options)


def make_templates(folder: Path) -> dict[str, Jinja2Templates]:
    """What `inject_templates` is given."""
    return {"default": Jinja2Templates(directory=folder)}


Ask = Callable[[Callable[[], Awaitable[Document]]], Awaitable[Document]]


def make_app(pages: Sequence[Pages], health: Health, ask: Ask, origins: Sequence[str]) -> FastAPI:
    """The application.

    Args:
        pages: of the petals that are served.
        health: how all is.
        ask: calls a Trio-flavored function out of the loop in which the application's own
            addresses are served.
        origins: whose web pages may ask.
    """
    app = FastAPI(title="petalkit", version=__version__)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["*"],
            allow_headers=["*"],
        )

    async def basic() -> Document:
        return {"status": "ok"}

    async def organization() -> Document:
        return health.organization()

    async def detailed() -> Document:
        return await ask(health.detailed)

    async def overview() -> Document:
        return await ask(health.overview)

    for path, endpoint in (
        ("/health", basic),
        ("/health/organization", organization),
        ("/health/detailed", detailed),
        ("/health/overview", overview),
    ):
        app.add_api_route(path, endpoint, methods=["GET"], tags=["health"])
    for one in pages:
        if one.static is not None:
            files = StaticFiles(directory=one.static)
            app.mount(f"/static/{one.name}", files, name=f"{one.name}_static")
        app.include_router(one.router)
    return app
