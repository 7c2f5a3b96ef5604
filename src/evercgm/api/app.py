"""The REST door put together: routers, headers, errors, and the page's files."""

import time
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response
from starlette.types import Scope

import evercgm
from evercgm.api import (
    connect_routes,
    connections_routes,
    error_responses,
    events_routes,
    health_routes,
    providers_routes,
    readings_routes,
    session_routes,
    sync_routes,
)
from evercgm.api.bearer import verifier_of
from evercgm.api.cors import OtherOrigins
from evercgm.api.headers import Caught, Headed, content_security_policy
from evercgm.api.jwks import Clock
from evercgm.api.origins import origin_of, origins_of, with_siblings
from evercgm.runtime import Runtime
from evercgm.storage.changes import Hub

BASE = "/api/metabolic/cgm"
WEB = Path(evercgm.__file__).parent / "web"


class Assets(StaticFiles):
    """The page's files: kept by the browser, but asked about each time."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def create_app(runtime: Runtime, clock: Clock = time.monotonic) -> FastAPI:
    """The ASGI app for one runtime; opens and closes nothing itself. ``clock`` ages the project's keys."""
    app = FastAPI(
        title="evercgm",
        version="0.1.0",
        summary="Connects people's continuous glucose monitors, and gives their readings.",
        docs_url=None,
        redoc_url=None,
        responses=error_responses.PROBLEMS,
        lifespan=events_routes.closing_streams,
    )
    app.state.runtime = runtime
    app.state.events = Hub(runtime.db)
    app.state.verify = verifier_of(runtime, clock)
    error_responses.install(app)
    for module in (
        connect_routes, connections_routes, readings_routes, events_routes, sync_routes, providers_routes,
        session_routes,
    ):  # fmt: skip
        app.include_router(module.router, prefix=BASE)
    for router in (health_routes.router, connect_routes.pages, session_routes.pages):
        app.include_router(router)
    app.add_api_route("/", _index, include_in_schema=False)
    app.mount("/assets", Assets(directory=WEB, check_dir=False))
    _add_layers(app, runtime)
    return app


async def _index() -> FileResponse:
    return FileResponse(WEB / "index.html", headers={"Cache-Control": "no-cache"})


def _add_layers(app: FastAPI, runtime: Runtime) -> None:
    """The last one added is the outermost."""
    public_url = runtime.settings.public_url
    foreign = origins_of(runtime.settings.allowed_origins) - {origin_of(public_url)}
    app.add_middleware(Caught)
    if foreign:
        app.add_middleware(OtherOrigins, origins=foreign)
    vendors = with_siblings(origins_of(item.base_url for item in runtime.vendors.apps.values()))
    policy = content_security_policy(vendors)
    app.add_middleware(Headed, policy=policy, https=public_url.startswith("https://"))
