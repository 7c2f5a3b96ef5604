"""The REST door put together: routers, headers, errors, and the page's files."""

import asyncio
import time
from pathlib import Path

from fastapi import Depends, FastAPI, Request, Response

import evercgm
from evercgm.actions.load import Gauges
from evercgm.api import (
    audit_routes,
    connect_routes,
    connections_routes,
    error_responses,
    events_routes,
    gaps_routes,
    health_routes,
    imports_routes,
    metrics_routes,
    persons_routes,
    providers_routes,
    readings_routes,
    session_routes,
    sign_in_routes,
    sync_routes,
)
from evercgm.api.assets import Assets
from evercgm.api.bearer import verifier_of
from evercgm.api.cors import OtherOrigins
from evercgm.api.fields import only_known_query
from evercgm.api.headers import Caught, Headed, content_security_policy
from evercgm.api.jwks import Clock
from evercgm.api.origins import origin_of, origins_of, with_siblings
from evercgm.runtime import Runtime
from evercgm.storage.changes import Hub

BASE = "/api/metabolic/cgm"
WEB = Path(evercgm.__file__).parent / "web"


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
    app.state.gauges = Gauges(runtime.db, runtime.vendors)
    app.state.imports = asyncio.Semaphore(imports_routes.MOST_AT_ONCE)
    app.state.verify = verifier_of(runtime, clock)
    error_responses.install(app)
    # Not held to known parameters: a vendor may add some to its way back.
    app.include_router(connect_routes.router, prefix=BASE)
    for module in (
        connections_routes, readings_routes, events_routes, sync_routes, providers_routes, session_routes,
        audit_routes, persons_routes, gaps_routes, sign_in_routes, imports_routes,
    ):  # fmt: skip
        app.include_router(module.router, prefix=BASE, dependencies=[Depends(only_known_query)])
    for router in (health_routes.router, metrics_routes.router, connect_routes.pages, session_routes.pages):
        app.include_router(router)
    assets = Assets(directory=WEB, check_dir=False)
    app.mount("/assets", assets)

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def index(request: Request) -> Response:
        return await assets.get_response("index.html", request.scope)

    _add_layers(app, runtime)
    return app


def _add_layers(app: FastAPI, runtime: Runtime) -> None:
    """The last one added is the outermost."""
    public_url = runtime.settings.public_url
    foreign = origins_of(runtime.settings.allowed_origins) - {origin_of(public_url)}
    app.add_middleware(Caught, files_at=f"{BASE}/imports")
    if foreign:
        app.add_middleware(OtherOrigins, origins=foreign)
    vendors = with_siblings(origins_of(item.base_url for item in runtime.vendors.apps.values()))
    policy = content_security_policy(vendors)
    app.add_middleware(Headed, policy=policy, https=public_url.startswith("https://"))
