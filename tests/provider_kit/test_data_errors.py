"""Each documented failure of a data call, with its body and headers, through one real call."""

import json
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evercgm.core.errors import EvercgmError, VendorChanged, VendorDenied, VendorRateLimited, VendorTryLater
from evercgm.provider_kit.send import raise_for_data, read_json, send

CASES = json.loads((Path(__file__).parents[1] / "providers/dexcom/fixtures/http_errors.json").read_text())
# The error, and what it carries: whether a refresh may help, or for how long the vendor asks us to wait.
EXPECTED: dict[str, tuple[type[EvercgmError], bool | int | None]] = {
    "access token expired or revoked": (VendorDenied, True),
    "same, empty body": (VendorDenied, True),
    "access not granted": (VendorDenied, False),
    "no such path": (VendorChanged, None),
    "window too long": (VendorChanged, None),
    "unreadable date": (VendorChanged, None),
    "too many calls": (VendorRateLimited, None),
    "too many calls with a hint": (VendorRateLimited, 120),
    "server error": (VendorTryLater, None),
    "unavailable": (VendorTryLater, None),
    "200 with text that is not JSON": (VendorChanged, None),
}


def raw(body: object) -> bytes:
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


async def call(case: dict[str, object]) -> None:
    headers = {"Content-Type": str(case.get("content_type", "application/json"))}
    given = case.get("headers")
    if isinstance(given, dict):
        headers |= given

    async def egvs(_request: Request) -> Response:
        return Response(raw(case["body"]), int(str(case["http_status"])), headers)

    app = Starlette(routes=[Route("/egvs", egvs)])
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app)) as http:
        answer = await send(http, "GET", "http://vendor.test/egvs")
    raise_for_data(answer)
    read_json(answer.body, dict)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
async def test_each_documented_failure_is_one_of_ours(case: dict[str, object]) -> None:
    kind, carried = EXPECTED[str(case["case"])]

    with pytest.raises(EvercgmError) as caught:
        await call(case)

    failure = caught.value
    assert type(failure) is kind
    told = failure.expired_token if isinstance(failure, VendorDenied) else getattr(failure, "retry_after_s", None)
    assert told == carried
