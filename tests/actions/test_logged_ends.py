"""How a sync ends is logged once, with what one needs to know: a success, the first failure of a row, the recovery."""

from typing import Any

from structlog.testing import capture_logs
from sync_world import World, refusal

ENDS = ("sync_done", "sync_failing", "sync_recovered")


def ends(logs: list[Any]) -> list[Any]:
    return [line for line in logs if line["event"] in ENDS]


async def test_a_sync_that_ended_well_is_logged_with_its_counts_and_its_time(world: World) -> None:
    connection_id = await world.connect()
    with capture_logs() as logs:
        result = await world.sync(connection_id)

    assert result is not None
    (line,) = ends(logs)
    took_ms = line.pop("took_ms")
    assert line == {
        "event": "sync_done", "log_level": "info", "connection_id": connection_id, "provider": "dexcom",
        "region": "us", "fetched": result.saved.fetched, "inserted": result.saved.inserted, "updated": 0, "rejected": 0,
    }  # fmt: skip
    assert isinstance(took_ms, int)
    assert took_ms > 0


async def test_a_row_of_failed_refreshes_is_logged_once_and_so_is_its_end(world: World) -> None:
    connection_id = await world.connect()
    world.expire_access_token(connection_id)
    world.weather.answers["token"] = refusal("invalid_client")
    with capture_logs() as logs:
        for _ in range(3):
            await world.sync(connection_id)
        world.weather.answers.clear()
        await world.sync(connection_id)

    failing, recovered, done = ends(logs)
    assert failing == {
        "event": "sync_failing", "log_level": "warning", "connection_id": connection_id, "provider": "dexcom",
        "region": "us", "reason": "operator_must_act", "error": "OperatorMustAct", "refreshing": True,
    }  # fmt: skip
    assert (recovered["event"], recovered["was"]) == ("sync_recovered", "operator_must_act")
    assert done["event"] == "sync_done"
