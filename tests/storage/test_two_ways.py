"""Two ways tell the same instants: each is stored once, as the official one says, whatever comes when."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from one_person import make_person

from evercgm.actions.saving import save_batch
from evercgm.core.reading import Batch, Reading
from evercgm.core.sync import Window
from evercgm.provider_kit.vendors import Vendors
from evercgm.providers import PROVIDERS
from evercgm.storage.database import Database, open_database
from evercgm.storage.vault import Vault

START = datetime(2026, 11, 24, 8, 0, 4, 567000, tzinfo=UTC)
INSTANTS = 8
VENDORS = Vendors(PROVIDERS, {}, {})
OFFICIAL, SHARE = "dexcom", "dexcom_share"
# By way in what it said last of each instant: its time and value.
Said = dict[str, dict[int, tuple[datetime, int]]]


@dataclass(frozen=True)
class Arrival:
    """One answer: by place in the series a value. ``whole``: it was asked for all instants, and lacks the others."""

    way: str
    values: dict[int, int]
    whole: bool


VALUES = st.dictionaries(st.integers(0, INSTANTS - 1), st.integers(40, 400), max_size=INSTANTS)
ARRIVALS = st.lists(st.builds(Arrival, st.sampled_from([OFFICIAL, SHARE]), VALUES, st.booleans()), max_size=8)
# How far Share's clock is from the official one at each instant, in seconds.
APART = st.lists(st.integers(-25, 25), min_size=INSTANTS, max_size=INSTANTS)


@pytest.fixture
async def db(database: Any) -> AsyncIterator[Database]:
    make_person(database.owner_dsn)
    async with open_database(database.service_dsn, Vault(secrets.token_bytes(32)), largest=3) as opened:
        yield opened


async def begin_anew(db: Database) -> None:
    async with db.as_worker() as conn:
        await conn.execute("delete from public.glucose_readings")


def measured_at(way: str, n: int, apart: Sequence[int]) -> datetime:
    return START + timedelta(minutes=5 * n, seconds=apart[n] if way == SHARE else 0)


def record(way: str, n: int, value: int, apart: Sequence[int]) -> Reading:
    """Only the official way names the transmitter."""
    at = measured_at(way, n, apart)
    if way == SHARE:
        return Reading(f"share-{n}", at, value)
    return Reading(f"official-{n}", at, value, transmitter_hash=b"t" * 32, transmitter_ticks=300 * n)


async def arrive(db: Database, arrival: Arrival, apart: Sequence[int]) -> None:
    records = tuple(record(arrival.way, n, value, apart) for n, value in arrival.values.items())
    end = START + timedelta(hours=2) if arrival.whole else START - timedelta(hours=1)
    window = Window(START - timedelta(hours=1), end)
    async with db.as_worker() as conn:
        await save_batch(
            conn, VENDORS, PROVIDERS[arrival.way], Batch(records, (), "account"), window,
            person_id="p-1", connection_id="c-1", account="account",
        )  # fmt: skip


def note(said: Said, arrival: Arrival, apart: Sequence[int]) -> None:
    told = said.setdefault(arrival.way, {})
    told.update({n: (measured_at(arrival.way, n, apart), value) for n, value in arrival.values.items()})


def expected(said: Said) -> list[tuple[datetime, float]]:
    """Each instant once, as the official way said it last; as Share did, where that has said nothing."""
    return sorted((said.get(SHARE, {}) | said.get(OFFICIAL, {})).values())


async def stored(db: Database) -> dict[str, tuple[datetime, float]]:
    """By a reading's id."""
    query = """select id, "timestamp" at time zone 'UTC' as at, value from public.glucose_readings order by 2"""
    async with db.as_worker() as conn:
        rows = await (await conn.execute(query)).fetchall()
    return {row["id"]: (row["at"], row["value"]) for row in rows}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrivals=ARRIVALS, apart=APART)
async def test_whatever_comes_when_the_official_value_stands_once_and_nothing_is_lost(
    db: Database, arrivals: list[Arrival], apart: list[int]
) -> None:
    await begin_anew(db)
    said: Said = {}
    ids: set[str] = set()

    for arrival in arrivals:
        await arrive(db, arrival, apart)

        note(said, arrival, apart)
        found = await stored(db)
        assert sorted(found.values()) == expected(said)
        assert ids <= found.keys()
        ids = set(found)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrivals=ARRIVALS, apart=APART)
async def test_two_ways_that_store_at_once_end_in_the_official_series(
    db: Database, arrivals: list[Arrival], apart: list[int]
) -> None:
    await begin_anew(db)
    said: Said = {}
    for arrival in arrivals:
        note(said, arrival, apart)

    async def by_one(way: str) -> None:
        for arrival in arrivals:
            if arrival.way == way:
                await arrive(db, arrival, apart)

    await asyncio.gather(by_one(OFFICIAL), by_one(SHARE))

    assert sorted((await stored(db)).values()) == expected(said)
