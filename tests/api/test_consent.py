"""A consent that may end within a month: its person is told the day and what to do; the operator is told how many."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_world import BASE, Owner, Run, add_connection

from evercgm.actions.checkup import check_consents
from evercgm.core.connection import MESSAGES, consent_ends_soon, message_for
from evercgm.providers import PROVIDERS
from evercgm.runtime import Runtime

ERRORS = Path(__file__).resolve().parents[2] / "docs" / "errors.md"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


async def consented(admin: Run, ada: Owner, days_ago: float, **more: Any) -> str:
    connection_id = await add_connection(admin, ada.person_id, **more)
    await admin(
        "update cgm_private.sync_state set connected_at = now() - %s where connection_id = %s",
        (timedelta(days=days_ago), connection_id),
    )
    return connection_id


async def seen(client: httpx2.AsyncClient, owner: Owner) -> dict[str, Any]:
    (found,) = (await client.get(f"{BASE}/connections", headers=owner.bearer)).json()["connections"]
    return dict(found)


@pytest.mark.parametrize(
    ("days_ago", "told"), [(0, False), (334.9, False), (335.1, True), (364.9, True), (365.1, True), (800, True)]
)
async def test_from_thirty_days_before_a_year_the_person_is_told_the_day_and_what_to_do(
    client: httpx2.AsyncClient, ada: Owner, admin: Run, days_ago: float, told: bool
) -> None:
    connection_id = await consented(admin, ada, days_ago)

    found = await seen(client, ada)
    one = (await client.get(f"{BASE}/connections/{connection_id}", headers=ada.bearer)).json()

    assert (found["status"], found["reason"]) == ("connected", "consent_ends_soon" if told else None)
    assert {name: one[name] for name in found} == found
    if told:
        ends = datetime.fromisoformat(found["connected_at"]) + timedelta(days=365)
        assert f"{ends.day} {ends:%B %Y}" in found["message"]
        assert "Connect once more" in found["message"]


@pytest.mark.parametrize("status", ["error", "expired", "disconnected"])
async def test_what_is_wrong_today_comes_before_what_ends_soon(
    client: httpx2.AsyncClient, ada: Owner, admin: Run, status: str
) -> None:
    await consented(admin, ada, 360, status=status)

    assert (await seen(client, ada))["reason"] != "consent_ends_soon"


async def test_another_reason_is_not_hidden_by_it(client: httpx2.AsyncClient, ada: Owner, admin: Run) -> None:
    await consented(admin, ada, 360)
    await admin("update cgm_private.sync_state set reason = 'rate_limited'")

    assert (await seen(client, ada))["reason"] == "rate_limited"


async def test_a_connection_of_the_host_app_is_not_asked_to_renew(
    client: httpx2.AsyncClient, ada: Owner, admin: Run
) -> None:
    await add_connection(admin, ada.person_id, adopted=False)
    await admin("update public.cgm_connections set created_at = now() - interval '2 years'")

    assert (await seen(client, ada))["reason"] == "not_adopted"


async def test_the_check_up_counts_those_who_must_consent_anew(
    runtime: Runtime, ada: Owner, bob: Owner, admin: Run
) -> None:
    await consented(admin, ada, 340)
    await consented(admin, bob, 300)

    (line,) = await check_consents(runtime.db, PROVIDERS.values())

    assert (line.id, line.status) == ("consents/dexcom/us", "warn")
    assert line.found.startswith("1 must consent anew")
    assert "Reconnect" in str(line.mend)


async def test_the_check_up_says_nothing_where_nobody_must(runtime: Runtime, ada: Owner, admin: Run) -> None:
    await consented(admin, ada, 300)

    assert await check_consents(runtime.db, PROVIDERS.values()) == []


async def test_the_api_and_the_check_up_count_from_the_same_moment(
    client: httpx2.AsyncClient, runtime: Runtime, ada: Owner, admin: Run
) -> None:
    await consented(admin, ada, 0)
    for days_ago in (334.99, 335.01):
        await admin("update cgm_private.sync_state set connected_at = now() - %s", (timedelta(days=days_ago),))
        told = (await seen(client, ada))["reason"] == "consent_ends_soon"
        assert told == bool(await check_consents(runtime.db, PROVIDERS.values())) == (days_ago > 335)


def test_dexcoms_consent_lasts_a_year() -> None:
    assert PROVIDERS["dexcom"].consent_lasts == timedelta(days=365)


@pytest.mark.parametrize(("days", "expected"), [(31, False), (30, True), (0, True), (-1, True)])
def test_the_warning_begins_thirty_days_before_the_end(days: int, expected: bool) -> None:
    assert consent_ends_soon(NOW + timedelta(days=days), NOW) == expected


@pytest.mark.parametrize("reason", sorted(MESSAGES))
def test_every_reason_has_a_sentence_without_gaps(reason: str) -> None:
    for ends_at in (None, NOW):
        text = message_for(reason, ends_at)
        assert text is not None
        assert "{" not in text
        assert text.endswith(".")


def test_every_reason_stands_in_the_list_and_no_other() -> None:
    section = ERRORS.read_text().partition("## Reasons of a connection")[2]

    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == sorted(MESSAGES)
