"""What Prometheus reads: for who has the operator's token, or on a port of its own. Tells nothing of anybody's data."""

import hmac
from typing import cast

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.exceptions import HTTPException

from evercgm.actions.load import Gauges
from evercgm.api import error_responses
from evercgm.api.error_responses import Problem
from evercgm.core.counts import MEDIA_TYPE
from evercgm.core.tokens import Secret
from evercgm.runtime import Runtime

PATH = "/metrics"
router = APIRouter(tags=["health"])


@router.get(PATH, response_class=Response, responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}})
async def metrics(request: Request) -> Response:
    """Metrics in Prometheus's text form, for the bearer of `EVERCGM_METRICS_TOKEN`; 404 where none is set."""
    token = cast(Runtime, request.app.state.runtime).settings.metrics_token
    if token is None:
        raise HTTPException(404)
    return await _answer(request, token)


def create_metrics_app(runtime: Runtime) -> FastAPI:
    """The app of the separate port: ``/metrics`` and nothing else, with the token where one is set."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.state.runtime = runtime
    app.state.gauges = Gauges(runtime.db, runtime.vendors)
    error_responses.install(app)

    @app.get(PATH)
    async def metrics_alone(request: Request) -> Response:
        return await _answer(request, runtime.settings.metrics_token)

    return app


async def _answer(request: Request, token: Secret | None) -> Response:
    """Raises Problem 401: another token, or none."""
    if token is not None and not _is_borne(request, token):
        detail = "Send the operator's token: Authorization: Bearer, with the value of EVERCGM_METRICS_TOKEN."
        raise Problem(401, "not_signed_in", detail, headers={"WWW-Authenticate": "Bearer"})
    text = await cast(Gauges, request.app.state.gauges).exposition()
    return Response(text, headers={"Content-Type": MEDIA_TYPE})


def _is_borne(request: Request, token: Secret) -> bool:
    scheme, _, borne = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(borne.strip().encode(), token.reveal().encode())
