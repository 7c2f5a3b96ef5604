"""``/metrics``: for the operator's token alone, on the service or on a port of its own; nothing of anybody's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx2
import pytest
from api_world import BASE, ORIGIN, Owner, Run, add_connection, make_settings

from evercgm.api.app import create_app
from evercgm.api.metrics_routes import create_metrics_app
from evercgm.runtime import Runtime

TOKEN = "marked-metrics-token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@asynccontextmanager
async def opened(runtime: Runtime, *, alone: bool = False, **settings: str) -> AsyncIterator[httpx2.AsyncClient]:
    runtime = replace(runtime, settings=make_settings(**settings))
    app = create_metrics_app(runtime) if alone else create_app(runtime)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=ORIGIN) as client:
        yield client


async def test_without_a_token_there_is_no_such_address(runtime: Runtime, ada: Owner) -> None:
    async with opened(runtime) as client:
        nowhere = await client.get("/nowhere")
        for headers in ({}, BEARER, ada.bearer, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}):
            answer = await client.get("/metrics", headers=headers)

            assert answer.status_code == 404
            assert answer.json() == {**nowhere.json(), "request_id": answer.json()["request_id"]}


@pytest.mark.parametrize("alone", [False, True])
async def test_only_the_bearer_of_the_token_reads(runtime: Runtime, ada: Owner, alone: bool) -> None:
    async with opened(runtime, alone=alone, EVERCGM_METRICS_TOKEN=TOKEN) as client:
        for headers in (
            {},
            ada.bearer,
            {"Authorization": TOKEN},
            {"Authorization": f"Basic {TOKEN}"},
            {"Authorization": f"Bearer {TOKEN}x"},
            {"Authorization": f"Bearer {TOKEN[:-1]}"},
            {"Authorization": "Bearer "},
            {"Authorization": "Bearer é".encode("latin-1").decode("latin-1")},
        ):
            refused = await client.get("/metrics", headers={n: v.encode("latin-1") for n, v in headers.items()})
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert "evercgm_" not in refused.text.replace("EVERCGM_METRICS_TOKEN", "")
        answer = await client.get("/metrics", headers=BEARER)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "evercgm_database_up 1\n" in answer.text
    assert TOKEN not in answer.text


async def test_the_port_of_its_own_tells_nothing_else(runtime: Runtime) -> None:
    async with opened(runtime, alone=True) as client:
        answer = await client.get("/metrics")
        for path in ("/", "/docs", "/openapi.json", "/healthz", f"{BASE}/connections", f"{BASE}/readings"):
            assert (await client.get(path)).status_code == 404
        assert (await client.post("/metrics")).status_code == 405

    assert answer.status_code == 200
    assert 'evercgm_vendor_circuit{provider="dexcom",region="us",state="closed"} 1\n' in answer.text


@pytest.mark.parametrize("way", ["sync", "connect"])
async def test_a_person_who_asks_during_a_pause_is_told_when_to_come_back(
    client: httpx2.AsyncClient, ada: Owner, admin: Run, way: str
) -> None:
    await add_connection(admin, ada.person_id)
    await admin(
        "insert into cgm_private.provider_pauses (provider, region, until, reason)"
        " values ('dexcom', 'us', now() + interval '90 s', 'rate_limited')"
    )
    path, body = ("/sync", {}) if way == "sync" else ("/dexcom/oauth", {"region": "us"})

    paused = await client.post(BASE + path, json=body, headers=ada.bearer)
    await admin("update cgm_private.provider_pauses set until = now()")
    later = await client.post(BASE + path, json=body, headers=ada.bearer)

    assert (paused.status_code, paused.json()["code"]) == (503, "rate_limited")
    assert 30 <= int(paused.headers["retry-after"]) <= 90
    assert later.status_code == (202 if way == "sync" else 200)


async def test_a_pause_of_another_region_stops_nobody(client: httpx2.AsyncClient, ada: Owner, admin: Run) -> None:
    await add_connection(admin, ada.person_id)
    await admin(
        "insert into cgm_private.provider_pauses (provider, region, until, reason)"
        " values ('dexcom', 'eu', now() + interval '90 s', 'rate_limited')"
    )

    assert (await client.post(f"{BASE}/sync", json={}, headers=ada.bearer)).status_code == 202
