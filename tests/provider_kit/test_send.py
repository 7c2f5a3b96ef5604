"""One call to a vendor: what comes back, what is refused, and that nothing secret is in an error."""

import asyncio
import gzip
import socket
import traceback
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from urllib.parse import parse_qsl

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from evercgm.core.errors import (
    EvercgmError,
    VendorChanged,
    VendorDenied,
    VendorRateLimited,
    VendorTryLater,
)
from evercgm.provider_kit import send as kit
from evercgm.provider_kit.send import Answer, raise_for_data, read_json, retry_after_s, send, vendor_client

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


async def echo(request: Request) -> Response:
    return JSONResponse(
        {
            "method": request.method,
            "query": dict(request.query_params),
            "form": dict(parse_qsl((await request.body()).decode())),
            "authorization": request.headers.get("authorization"),
        }
    )


async def endless(_request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b"0" * 65_536
            await asyncio.sleep(0)

    return StreamingResponse(pieces())


async def bomb(_request: Request) -> Response:
    return Response(gzip.compress(b"0" * 10_000_000), headers={"Content-Encoding": "gzip"})


async def no_gzip(_request: Request) -> Response:
    return Response(b"plain", headers={"Content-Encoding": "gzip"})


async def slow(_request: Request) -> Response:
    await asyncio.sleep(2)
    return Response(b"late")


async def elsewhere(_request: Request) -> Response:
    return RedirectResponse("/echo")


async def limited(_request: Request) -> Response:
    return Response(status_code=429, headers={"Retry-After": "120"})


async def cookie(request: Request) -> Response:
    answer = Response(", ".join(request.cookies) or "no cookie came")
    answer.set_cookie("gateway", "alice")
    return answer


ROUTES = [
    Route("/cookie", cookie),
    Route("/echo", echo, methods=["GET", "POST"]),
    Route("/endless", endless),
    Route("/bomb", bomb),
    Route("/no_gzip", no_gzip),
    Route("/slow", slow),
    Route("/elsewhere", elsewhere),
    Route("/limited", limited),
]


@pytest.fixture
async def vendor() -> AsyncIterator[str]:
    """A vendor on a real socket; its address."""
    config = uvicorn.Config(Starlette(routes=ROUTES), log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await serving


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(trust_env=False, follow_redirects=True) as client:
        yield client


async def test_headers_query_and_form_arrive(http: httpx2.AsyncClient, vendor: str) -> None:
    headers = {"Authorization": "Bearer t"}
    answer = await send(http, "POST", f"{vendor}/echo", headers=headers, params={"a": "1 2"}, form={"b": "ü&="})

    assert answer.status == 200
    assert read_json(answer.body, dict) == {
        "method": "POST",
        "query": {"a": "1 2"},
        "form": {"b": "ü&="},
        "authorization": "Bearer t",
    }


@pytest.mark.parametrize("path", ["endless", "bomb"])
async def test_an_answer_without_end_is_cut_off(http: httpx2.AsyncClient, vendor: str, path: str) -> None:
    with pytest.raises(VendorChanged):
        await send(http, "GET", f"{vendor}/{path}", largest=1_000_000)


async def test_broken_compression_is_an_unreadable_answer(http: httpx2.AsyncClient, vendor: str) -> None:
    with pytest.raises(VendorChanged):
        await send(http, "GET", f"{vendor}/no_gzip")


async def test_a_redirect_is_not_followed(http: httpx2.AsyncClient, vendor: str) -> None:
    answer = await send(http, "GET", f"{vendor}/elsewhere")

    assert answer.status == 307
    with pytest.raises(VendorChanged):
        raise_for_data(answer)


async def test_an_answer_that_never_ends_arriving_is_given_up(
    http: httpx2.AsyncClient, vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kit, "WHOLE_CALL_S", 0.1)

    with pytest.raises(VendorTryLater):
        await send(http, "GET", f"{vendor}/slow")


async def test_nobody_there_is_tried_later_and_the_error_holds_no_secret(http: httpx2.AsyncClient) -> None:
    # Taken and not listened at: nobody else can come to listen there meanwhile.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(VendorTryLater) as caught:
            await send(
                http,
                "GET",
                f"http://127.0.0.1:{port}/x",
                headers={"Authorization": "Bearer marked-token"},
                params={"q": "marked-query"},
            )

    # The test's own frames quote this file; the error itself must say nothing.
    shown = "".join(traceback.format_exception_only(caught.value)) + repr(caught.value.args)
    assert "marked" not in shown
    assert str(port) not in shown
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_retry_after_comes_with_the_answer(http: httpx2.AsyncClient, vendor: str) -> None:
    answer = await send(http, "GET", f"{vendor}/limited")

    assert answer == Answer(429, b"", 120)


def test_an_answer_does_not_print_its_body() -> None:
    assert "marked" not in repr(Answer(200, b"marked"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("99999999999999999999999", 3600),
        ("Sun, 01 Mar 2026 12:02:00 GMT", 120),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
        ("Mon, 02 Mar 2026 12:00:00 GMT", 3600),
        ("-5", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("٣", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_at_most_an_hour(text: str | None, expected: int | None) -> None:
    assert retry_after_s(text, NOW) == expected


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (302, VendorChanged),
        (400, VendorChanged),
        (401, VendorDenied),
        (403, VendorDenied),
        (404, VendorChanged),
        (408, VendorTryLater),
        (418, VendorChanged),
        (422, VendorChanged),
        (429, VendorRateLimited),
        (500, VendorTryLater),
        (503, VendorTryLater),
    ],
)
def test_a_status_says_what_must_be_done(status: int, error: type[EvercgmError]) -> None:
    with pytest.raises(EvercgmError) as caught:
        raise_for_data(Answer(status, b"marked-body", 120))

    assert type(caught.value) is error
    assert "marked" not in str(caught.value)
    if isinstance(caught.value, VendorTryLater):
        assert caught.value.retry_after_s == 120
    if isinstance(caught.value, VendorDenied):
        assert caught.value.expired_token == (status == 401)


@pytest.mark.parametrize("wait_s", [None, 600])
def test_a_refused_call_carries_the_wait_that_its_provider_names(wait_s: int | None) -> None:
    with pytest.raises(VendorDenied) as caught:
        raise_for_data(Answer(403, b""), denied_wait_s=wait_s)

    assert caught.value.wait_s == wait_s


def test_a_good_status_raises_nothing() -> None:
    raise_for_data(Answer(200, b""))


@pytest.mark.parametrize(
    "body", [b"", b"<html></html>", b'{"a":', b'"\xff"', b"[" * 100_000, b"[1]", b'{"a":"\\ud800"}', b"1e999"]
)
def test_what_is_no_json_of_ours_is_a_changed_vendor(body: bytes) -> None:
    with pytest.raises(VendorChanged):
        read_json(body, dict[str, str])


async def test_no_cookie_of_one_call_travels_into_another(vendor: str) -> None:
    async with vendor_client([vendor]) as client:
        await send(client, "GET", f"{vendor}/cookie")
        second = await send(client, "GET", f"{vendor}/cookie")

    assert second.body == b"no cookie came"


@pytest.mark.parametrize("token", ["t\u00f6ken", "to\nken", "to\x00ken"])
async def test_a_token_that_no_header_can_carry_is_an_error_of_ours(vendor: str, token: str) -> None:
    async with vendor_client([vendor]) as client:
        with pytest.raises((VendorChanged, VendorTryLater)):
            await send(client, "GET", f"{vendor}/cookie", headers={"Authorization": f"Bearer {token}"})
