"""LibreLinkUp's recorded answers, given by a server that notes what it was asked."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evercgm.provider_kit.contract import VendorApp

FIXTURES = Path(__file__).parent / "fixtures"
BASE = "http://libre.test"
APP = VendorApp("world", BASE)
ALEX = "2197178c-ec91-57c9-8823-7e6f48faa652"
FOLLOWER = "7d8be63a-eebb-51cd-8718-dd0f87e6042d"
Json = dict[str, Any]


def load(name: str) -> Any:
    """A fixture file."""
    return json.loads((FIXTURES / f"{name}.json").read_text())


def case_of(name: str, title: str) -> Json:
    """One case of a fixture file."""
    (found,) = [case for case in load(name) if case["case"] == title]
    return dict(found)


def places(value: Any) -> list[Callable[[Any], None]]:
    """Ways of putting something else in one place of a JSON value."""
    if isinstance(value, dict):
        here = [lambda new, key=key: value.__setitem__(key, new) for key in value]
    elif isinstance(value, list):
        here = [lambda new, n=n: value.__setitem__(n, new) for n in range(len(value))]
    else:
        return []
    inner = value.values() if isinstance(value, dict) else value
    return here + [place for one in inner for place in places(one)]


@dataclass
class Canned:
    """Answers by path, as bodies or as cases; ``asked``: method, path, headers, body of each call."""

    answers: dict[str, Any]
    asked: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)

    def http(self) -> httpx2.AsyncClient:
        """A client that meets these answers and no network."""
        app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "POST"])])
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app))

    async def _answer(self, request: Request) -> Response:
        body = await request.body()
        path = request.url.path
        self.asked.append((request.method, path, dict(request.headers), json.loads(body) if body else None))
        given = self.answers.get(path)
        if given is None:
            return Response(status_code=404)
        case = given if "http_status" in given else {"http_status": 200, "body": given}
        content = case["body"]
        raw = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        return Response(raw, case["http_status"], case.get("headers"), case.get("content_type", "application/json"))
