"""Answers of a simulated cloud, those that no honest server gives among them: bodies that end early; ASGI only."""

from collections.abc import Mapping

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


def json_response(content: object, status: int = 200) -> Response:
    """JSON that no cache keeps."""
    headers = {"Cache-Control": "no-store"}
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")


class ConnectionCut(Exception):
    """The cloud hangs up in the middle of an answer. A server closes the connection; a caller in the
    same process sees this exception and reads it as what it would be on a network: no answer."""


class CutAnswer(Response):
    """Announces the whole length, sends half. `hang_up`: cut the connection there, else end as if that were all."""

    def __init__(self, body: bytes, status: int, headers: Mapping[str, str], *, hang_up: bool) -> None:
        super().__init__(body, status, headers)
        self.hang_up = hang_up

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body[: len(self.body) // 2])
        if self.hang_up:
            await send({"type": "http.response.body", "body": half, "more_body": True})
            raise ConnectionCut
        try:
            await send({"type": "http.response.body", "body": half})
        except Exception as error:
            # A real server refuses to end early, and closes the connection: the same for the caller.
            raise ConnectionCut from error
