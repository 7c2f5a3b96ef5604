"""Pages of other origins that may call: with a Bearer token, never with our cookie."""

from collections.abc import Iterable

import structlog
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from evercgm.api.error_responses import Problem, problem_response

_METHODS = ("GET", "POST", "DELETE")
_ASKED = ("Authorization", "Content-Type", "If-None-Match", "Last-Event-ID", "X-Request-Id")
_SHOWN = ("X-Request-Id", "Retry-After", "ETag", "Link")
_REFUSED = "Another site's page may not ask this. Its origin must stand in EVERCGM_ALLOWED_ORIGINS."


class OtherOrigins(CORSMiddleware):
    """Answers preflights; every answer varies by origin, so that no cache gives one site's answer to another."""

    def __init__(self, app: ASGIApp, origins: Iterable[str]):
        super().__init__(
            app,
            allow_origins=sorted(origins),
            allow_methods=_METHODS,
            allow_headers=_ASKED,
            allow_credentials=False,
            expose_headers=_SHOWN,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """An empty yes, or a problem that names the setting."""
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:
            return Response(status_code=204, headers=_without_content(answer))
        problem = Problem(403, "origin_not_allowed", _REFUSED, headers=_without_content(answer))
        return problem_response(problem, structlog.contextvars.get_contextvars().get("request_id"))


def _without_content(answer: Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
