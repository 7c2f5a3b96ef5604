"""What a check-up says about calls, pauses, backlog, jobs and the last sync."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sync_world import World

from evercgm.actions.checkup_load import check_backlog, check_calls, check_jobs, check_last_sync, check_load
from evercgm.core.limits import Books, CallLimits, Pause
from evercgm.storage.gauges import Load

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
LIMITS = CallLimits(1000, 0.1)
PLACE = ("dexcom", "us")


def load(**more: Any) -> Load:
    return Load(**{"due": 0, "due_for_s": 0.0, "job_waits_s": 0.0, "job_runs_s": 0.0, "books": {}, **more})


@pytest.mark.parametrize(
    ("used", "pause", "status", "words"),
    [
        (17, None, "ok", "17 of 1000 in the last hour"),
        (17, Pause(NOW, over=True), "ok", "17 of 1000"),
        (17, Pause(NOW + timedelta(seconds=90)), "warn", "paused for 90 s more"),
        (17, Pause(NOW), "warn", "its probe is still to come"),
        (900, None, "warn", "the rest waits for people"),
    ],
)
def test_calls_and_pauses_of_a_region(used: int, pause: Pause | None, status: str, words: str) -> None:
    check = check_calls(PLACE, Books(NOW, used, None, pause), LIMITS)

    assert (check.id, check.status) == ("calls/dexcom/us", status)
    assert words in check.found
    assert (check.mend is None) == (status == "ok")


@pytest.mark.parametrize(("seconds", "status"), [(0, "ok"), (299, "ok"), (300, "warn"), (3600, "fail")])
def test_what_is_late_is_told_with_what_mends_it(seconds: float, status: str) -> None:
    checks = [
        check_backlog(load(due=3, due_for_s=seconds)),
        check_jobs(load(job_waits_s=seconds)),
    ]

    assert [check.status for check in checks] == [status, status]
    assert all(("evercgm work" in (check.mend or "")) == (status != "ok") for check in checks)


def test_a_job_that_runs_long_is_told() -> None:
    assert check_jobs(load(job_runs_s=1799)).status == "ok"
    assert check_jobs(load(job_runs_s=1800)).status == "warn"
    assert check_jobs(load(job_runs_s=1800, job_waits_s=3600)).status == "fail"


@pytest.mark.parametrize(
    ("at", "connected", "status"),
    [
        (None, 0, "ok"),
        (NOW - timedelta(days=3), 0, "ok"),
        (None, 2, "warn"),
        (NOW, 2, "ok"),
        (NOW + timedelta(minutes=5), 2, "ok"),
        (NOW - timedelta(minutes=29), 2, "ok"),
        (NOW - timedelta(minutes=30), 2, "warn"),
        (NOW - timedelta(hours=1), 2, "fail"),
    ],
)
def test_when_a_sync_last_ended_well(at: datetime | None, connected: int, status: str) -> None:
    assert check_last_sync(at, connected, NOW).status == status


async def test_a_check_up_looks_at_the_regions_that_are_set_up(world: World) -> None:
    connection_id = await world.connect()
    await world.sync(connection_id)

    checks = {check.id: check for check in await check_load(world.db, [PLACE, ("dexcom", "eu")])}

    assert list(checks) == ["calls/dexcom/eu", "calls/dexcom/us", "backlog", "jobs", "last sync"]
    assert {check.status for check in checks.values()} == {"ok"}


async def test_a_database_that_does_not_tell_is_unknown(world: World) -> None:
    world.sql("alter table cgm_private.vendor_budgets rename to elsewhere")

    (check,) = await check_load(world.db, [PLACE])

    assert (check.id, check.status) == ("backlog", "unknown")
