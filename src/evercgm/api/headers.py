"""The layers around every answer: request id and security headers outside; inside, a bound on bodies, a last catch."""

import re
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evercgm.api.error_responses import Problem, problem_of, problem_response
from evercgm.core.errors import TooLarge
from evercgm.file_imports.text import LARGEST, LARGEST_MB

LONGEST_BODY = 64 * 1024
# A file, and the fields beside it.
LONGEST_FORM = LARGEST + 64 * 1024
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


def content_security_policy(form_targets: list[str]) -> str:
    """Everything from ourselves; forms also to ``form_targets``, since a form's answer may lead there."""
    return "; ".join(
        (
            "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:",
            "connect-src 'self'", "font-src 'self'", "base-uri 'none'",
            " ".join(("form-action 'self'", *form_targets)), "frame-ancestors 'none'",
        )
    )  # fmt: skip


class Headed:
    """Gives each answer its id and its headers; ``https`` adds HSTS."""

    def __init__(self, app: ASGIApp, *, policy: str, https: bool):
        self._app = app
        self._fixed = {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "no-store",
        }
        if https:
            self._fixed["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope))
        scope["evercgm.request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add(MutableHeaders(scope=message), request_id)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._app(scope, receive, send_with_headers)

    def _add(self, headers: MutableHeaders, request_id: str) -> None:
        headers["X-Request-Id"] = request_id
        for name, value in self._fixed.items():
            headers.setdefault(name, value)


class Caught:
    """Refuses bodies that are too large, and makes a problem of whatever no route has answered.

    ``files_at``: the path that takes a file.
    """

    def __init__(self, app: ASGIApp, *, files_at: str):
        self._app = app
        self._files_at = files_at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            longest, words = self._bound(scope["path"])
            if _stated_length(Headers(scope=scope)) > longest:
                raise Problem(413, "too_large", words)
            await self._app(scope, _bounded(receive, longest, words), watched_send)
        except Exception as exc:
            answer = problem_response(problem_of(exc), scope.get("evercgm.request_id"))
            if started:
                raise
            await answer(scope, receive, send)

    def _bound(self, path: str) -> tuple[int, str]:
        """How long a body may be, and what is said of a longer one."""
        if path == self._files_at:
            return LONGEST_FORM, problem_of(TooLarge(LARGEST_MB)).detail
        return LONGEST_BODY, "The request is larger than 64 KiB."


def _request_id(headers: Headers) -> str:
    """The caller's own id where it is harmless, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _stated_length(headers: Headers) -> int:
    text = headers.get("content-length", "0")
    return int(text[:20]) if text.isascii() and text.isdigit() else 0


def _bounded(receive: Receive, longest: int, words: str) -> Receive:
    """Stops a body that grows past the bound without having said so."""
    taken = 0

    async def take() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > longest:
            raise HTTPException(413, words)
        return message

    return take
