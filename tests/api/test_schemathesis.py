"""Odd and hostile calls of every operation in the OpenAPI document: none is answered with a failure of ours."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
import requests
import schemathesis
from api_world import ORIGIN, Owner, Run, add_connection, add_readings
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

EXAMPLES_OF_A_MODE = 20
Case = Any
Operation = Any


def try_operation(operation: Operation, mode: GenerationMode, send: Callable[[Case], None], **fixed: Any) -> None:
    """Send what Schemathesis makes up for an operation; the same calls in every run."""

    @settings(
        max_examples=EXAMPLES_OF_A_MODE,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode, **fixed))
    def try_all(case: Case) -> None:
        send(case)

    try_all()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fitting", "unfitting"])
async def test_no_call_is_answered_with_a_failure_of_ours(
    client: httpx2.AsyncClient, ada: Owner, admin: Run, mode: GenerationMode
) -> None:
    connection_id = await add_connection(admin, ada.person_id)
    await add_readings(admin, ada.person_id, connection_id, [datetime(2026, 11, 24, 8, 0, tzinfo=UTC)])
    loop = asyncio.get_running_loop()
    document = (await client.get("/openapi.json")).json()
    seen: dict[str, set[int]] = {}

    def send(case: Case) -> None:
        made = requests.Request(**case.as_transport_kwargs(base_url=ORIGIN)).prepare()
        call = client.request(
            str(made.method), str(made.url), content=made.body or b"", headers={**made.headers, **ada.bearer}
        )
        answer = asyncio.run_coroutine_threadsafe(call, loop).result(30)
        seen.setdefault(case.operation.label, set()).add(answer.status_code)
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"

    def try_all() -> None:
        for found in schemathesis.openapi.from_dict(document).get_all_operations():
            operation = found.ok()
            # Where an operation takes nothing, nothing is unfitting.
            with suppress(*([Unsatisfiable] if mode is GenerationMode.NEGATIVE else [])):
                try_operation(operation, mode, send)
            if "{connection_id}" in operation.path and mode is GenerationMode.POSITIVE:
                try_operation(operation, mode, send, path_parameters={"connection_id": connection_id})

    await asyncio.to_thread(try_all)

    expected = sum(len(methods) for methods in document["paths"].values())
    assert len(seen) == expected if mode is GenerationMode.POSITIVE else len(seen) > expected / 2
