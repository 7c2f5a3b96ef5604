"""What can happen to a call whatever it asks for: slowness, refusals, pages, cut answers; ASGI only."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from starlette.responses import Response

from evercgm.simulator_kit.answers import CutAnswer
from evercgm.simulator_kit.faults import FaultKind, Switchboard

PAGE = "<html><head><title>Service</title></head><body>Please try again later.</body></html>"


@dataclass(frozen=True, slots=True)
class Troubles:
    """The switches of one cloud's calls; made by `troubles_at`."""

    client_error: FaultKind[int]
    rate_limited: FaultKind[str]
    server_error: FaultKind[int]
    slow: FaultKind[float]
    cut_body: FaultKind[str]
    html: FaultKind[bool]

    @property
    def kinds(self) -> tuple[FaultKind[Any], ...]:
        """All of them, for the switchboard."""
        return self.client_error, self.rate_limited, self.server_error, self.slow, self.cut_body, self.html


def troubles_at(places: tuple[str, ...], only_if_named: tuple[str, ...] = ()) -> Troubles:
    """The switches for calls at these places, the last segments of their paths."""
    return Troubles(
        client_error=FaultKind(
            "client_error", Annotated[int, msgspec.Meta(ge=400, le=499)], "a status from 400 to 499",
            "client_error=422", "This status, no body.", places, only_if_named,
        ),
        rate_limited=FaultKind(
            "rate_limited", str, "the text of Retry-After, or nothing for none", "rate_limited=120",
            "429, with or without Retry-After.", places, only_if_named,
        ),
        server_error=FaultKind(
            "server_error", Annotated[int, msgspec.Meta(ge=500, le=599)], "a status from 500 to 599",
            "server_error=503", "This status, an HTML body.", places, only_if_named,
        ),
        slow=FaultKind(
            "slow", Annotated[float, msgspec.Meta(ge=0, le=600)], "seconds from 0 to 600", "slow=35",
            "Real seconds before the answer.", places, only_if_named,
        ),
        cut_body=FaultKind(
            "cut_body", Literal["dropped", "short"], "dropped or short", "cut_body=dropped",
            "Half the body: the connection is dropped, or the answer just ends (over HTTP both look alike).",
            places, only_if_named,
        ),
        html=FaultKind(
            "html", bool, "true", "html=true", "200 with a page instead of JSON.", places, only_if_named,
        ),
    )  # fmt: skip


async def through(
    switches: Switchboard,
    troubles: Troubles,
    place: str,
    username: str | None,
    handle: Callable[[], Awaitable[Response]],
) -> Response:
    """The answer of `handle` after what strikes this call; a refusal is answered without it."""
    if seconds := switches.take(troubles.slow, place, username):
        await asyncio.sleep(seconds)
    answer = _refusal(switches, troubles, place, username) or await handle()
    cut = switches.take(troubles.cut_body, place, username)
    return cut_answer(answer, hang_up=cut == "dropped") if cut else answer


def too_many(retry_after: str) -> Response:
    """429; `retry_after` empty: without that header."""
    return Response(status_code=429, headers={"Retry-After": retry_after} if retry_after else {})


def page(status: int = 200) -> Response:
    """HTML where JSON belongs."""
    return Response(PAGE, status, media_type="text/html")


def cut_answer(answer: Response, *, hang_up: bool) -> Response:
    """The first half of an answer that announces its whole length."""
    kept = {name: value for name, value in answer.headers.items() if name != "content-length"}
    return CutAnswer(bytes(answer.body), answer.status_code, kept, hang_up=hang_up)


def _refusal(switches: Switchboard, troubles: Troubles, place: str, username: str | None) -> Response | None:
    retry_after = switches.take(troubles.rate_limited, place, username)
    if retry_after is not None:
        return too_many(retry_after)
    if status := switches.take(troubles.server_error, place, username):
        return page(status)
    if status := switches.take(troubles.client_error, place, username):
        return Response(status_code=status)
    return page() if switches.take(troubles.html, place, username) else None
