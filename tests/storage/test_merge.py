"""The merge rule on a real PostgreSQL: nothing lost, nothing twice, a host's rows never rewritten."""

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from one_person import make_person

from evercgm.core.reading import Batch, Reading, Rejected, reading_id
from evercgm.core.sync import Window
from evercgm.storage import readings
from evercgm.storage.database import Database, open_database
from evercgm.storage.readings import Owner
from evercgm.storage.vault import Vault

START = datetime(2026, 11, 24, 8, 0, 4, 567000, tzinfo=UTC)
OWNER = Owner("p-1", "c-1", "dexcom/dexcom/account")


def reading(n: int, value: int = 100, key: str | None = None, **more: Any) -> Reading:
    return Reading(key or f"r-{n}", START + timedelta(minutes=5 * n), value, **more)


@pytest.fixture
async def db(database: Any) -> AsyncIterator[Database]:
    make_person(database.owner_dsn)
    async with open_database(database.service_dsn, Vault(secrets.token_bytes(32)), largest=3) as opened:
        yield opened


async def save(db: Database, *all_readings: Reading, owner: Owner = OWNER) -> readings.Saved:
    async with db.as_worker() as conn:
        return await readings.save(conn, owner, Batch(all_readings, (), "account"))


async def stored(db: Database) -> list[tuple[str, float]]:
    async with db.as_worker() as conn:
        cursor = await conn.execute("select id, value from public.glucose_readings order by timestamp, id")
        return [(row["id"], row["value"]) for row in await cursor.fetchall()]


async def test_a_batch_is_stored_once_however_often_it_comes(db: Database) -> None:
    batch = [reading(n, 100 + n) for n in range(300)]

    first = await save(db, *batch)
    again = await save(db, *reversed(batch))

    assert (first.inserted, again.inserted, again.updated) == (300, 0, 0)
    assert await stored(db) == [(reading_id("p-1", OWNER.stream, one), one.glucose_mg_dl) for one in batch]


async def test_a_late_reading_is_stored_once(db: Database) -> None:
    await save(db, reading(0), reading(2))

    late = await save(db, reading(0), reading(1, 150), reading(2))

    assert late.inserted == 1
    assert [value for _id, value in await stored(db)] == [100, 150, 100]


async def test_a_vendors_correction_changes_our_row_and_keeps_its_id(db: Database) -> None:
    await save(db, reading(0, 100))
    before = await stored(db)

    corrected = await save(db, reading(0, 117))

    assert (corrected.inserted, corrected.updated) == (0, 1)
    assert await stored(db) == [(before[0][0], 117)]


async def test_a_vendors_later_time_moves_our_row_and_keeps_its_id(db: Database) -> None:
    await save(db, Reading("r-0", START.replace(second=0, microsecond=0), 100))
    before = await stored(db)

    again = [await save(db, reading(0, 100)) for _ in range(2)]

    assert [one.updated for one in again] == [1, 0]
    assert await stored(db) == before
    async with db.as_worker() as conn:
        rows = await (await conn.execute('select "timestamp" from public.glucose_readings')).fetchall()
    assert rows == [{"timestamp": START.replace(tzinfo=None)}]


@pytest.mark.parametrize(
    ("keys", "ticks"),
    [(("r-0", "r-0"), (None, None)), (("phone", "receiver"), (77, 77))],
    ids=["by its key", "by its tick"],
)
async def test_a_reading_whose_time_is_put_right_by_days_is_one_reading(
    db: Database, keys: tuple[str, str], ticks: tuple[int | None, int | None]
) -> None:
    there, then = (
        Reading(key, at, 100, transmitter_hash=b"t" * 32, transmitter_ticks=tick)
        for key, at, tick in zip(keys, (START, START - timedelta(days=3)), ticks, strict=True)
    )

    await save(db, there)
    await save(db, then)

    assert len(await stored(db)) == 1


async def test_copies_of_phone_and_receiver_are_one_reading(db: Database) -> None:
    phone = reading(0, 100, "phone", transmitter_hash=b"t" * 32, transmitter_ticks=77)
    receiver = Reading("receiver", START + timedelta(seconds=45), 100, None, None, None, None, b"t" * 32, 77)

    await save(db, phone, receiver)
    await save(db, receiver)
    await save(db, phone)

    assert len(await stored(db)) == 1


async def test_the_same_reading_under_a_new_record_id_is_one_reading(db: Database) -> None:
    await save(db, reading(0, 100, "old id"))

    await save(db, Reading("new id", START + timedelta(seconds=20), 100))

    assert len(await stored(db)) == 1


async def test_a_reading_of_the_host_app_is_linked_and_never_rewritten(db: Database, database: Any) -> None:
    with psycopg.connect(database.owner_dsn) as conn:
        conn.execute(
            """insert into public.glucose_readings (id, person_id, "timestamp", value, source)
               values ('host-1', 'p-1', '2026-11-24 08:00:10', 100, 'cgm')"""
        )

    await save(db, reading(0, 100))
    await save(db, reading(0, 120))

    assert await stored(db) == [("host-1", 100)]


async def test_a_finger_prick_at_the_same_moment_is_another_reading(db: Database, database: Any) -> None:
    with psycopg.connect(database.owner_dsn) as conn:
        conn.execute(
            """insert into public.glucose_readings (id, person_id, "timestamp", value, source)
               values ('prick', 'p-1', '2026-11-24 08:00:04', 100, 'fingerstick')"""
        )

    await save(db, reading(0, 100))

    assert len(await stored(db)) == 2


async def test_a_connection_of_another_person_cannot_get_readings(db: Database) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        await save(db, reading(0), owner=Owner("p-2", "c-1", OWNER.stream))

    assert await stored(db) == []


async def test_what_cannot_be_read_is_kept_aside_once(db: Database) -> None:
    batch = Batch((reading(0),), (Rejected("bad", "bad_time", "yesterday"),), "account")

    for _ in range(2):
        async with db.as_worker() as conn:
            await readings.save(conn, OWNER, batch)

    async with db.as_worker() as conn:
        rows = await (await conn.execute("select record_key, reason from cgm_private.rejected_records")).fetchall()
    assert rows == [{"record_key": "bad", "reason": "bad_time"}]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=6))
async def test_any_order_of_arrivals_ends_in_the_same_series(db: Database, arrivals: list[list[int]]) -> None:
    async with db.as_worker() as conn:
        await conn.execute("delete from public.glucose_readings")

    for batch in arrivals:
        await save(db, *(reading(n, 100 + n) for n in batch))

    everything = sorted({n for batch in arrivals for n in batch})
    assert [value for _id, value in await stored(db)] == [100 + n for n in everything]


async def test_copies_with_unequal_values_do_not_flip_the_stored_one(db: Database) -> None:
    phone = reading(0, 100, "phone", transmitter_hash=b"t" * 32, transmitter_ticks=77)
    receiver = Reading("receiver", START + timedelta(seconds=4), 101, None, None, None, None, b"t" * 32, 77)
    await save(db, phone, receiver)
    before = await stored(db)

    again = [await save(db, phone, receiver), await save(db, receiver), await save(db, receiver, phone)]

    assert [one.updated for one in again] == [0, 0, 0]
    assert await stored(db) == before


HOUR = Window(START - timedelta(minutes=1), START + timedelta(minutes=59))


async def show(db: Database, *shown: Reading, rejected: tuple[Rejected, ...] = (), window: Window = HOUR) -> None:
    """An answer to ``window`` that holds nothing else."""
    async with db.as_worker() as conn:
        await readings.save(conn, OWNER, Batch(shown, rejected, "account"), window)


async def absent(db: Database) -> list[str]:
    async with db.as_worker() as conn:
        cursor = await conn.execute(
            "select record_key from cgm_private.reading_details where absent_since is not null order by 1"
        )
        return [row["record_key"] for row in await cursor.fetchall()]


async def test_a_reading_that_an_answer_lacks_stays_and_is_noted_as_absent_until_it_is_shown_again(
    db: Database,
) -> None:
    await show(db, *(reading(n, 100 + n) for n in range(4)))
    everything = await stored(db)

    await show(db, reading(0, 100), reading(3, 103))
    assert (await absent(db), await stored(db)) == (["r-1", "r-2"], everything)
    await show(db)
    assert (await absent(db), await stored(db)) == (["r-0", "r-1", "r-2", "r-3"], everything)
    await show(db, *(reading(n, 100 + n) for n in range(4)))

    assert (await absent(db), await stored(db)) == ([], everything)


async def test_the_first_moment_of_an_absence_is_kept(db: Database) -> None:
    query = "select absent_since from cgm_private.reading_details where record_key = 'r-1'"
    await show(db, reading(0), reading(1, 120))
    await show(db, reading(0))
    async with db.as_worker() as conn:
        since = await (await conn.execute(query)).fetchone()

    await show(db, reading(0))

    async with db.as_worker() as conn:
        assert await (await conn.execute(query)).fetchone() == since


async def test_only_what_was_asked_for_can_be_absent(db: Database) -> None:
    other = Owner("p-1", "c-1", "dexcom/dexcom/another account")
    await save(db, reading(0, 100), reading(5, 105), reading(30, 130))
    await save(db, reading(6, 106, "of another account"), owner=other)

    await show(db, window=Window(START, START + timedelta(minutes=25)))

    # Its ends are asked for in whole seconds: what lies on them may be left out by the vendor.
    assert await absent(db) == []
    await show(db, window=Window(START - timedelta(seconds=1), START + timedelta(minutes=25, seconds=2)))
    assert await absent(db) == ["r-0", "r-5"]


async def test_what_comes_as_no_reading_any_more_is_not_absent(db: Database) -> None:
    await show(db, reading(0), reading(1, 120), reading(2, 140))

    await show(db, reading(0), rejected=(Rejected("r-1", "no_value"),))

    assert await absent(db) == ["r-2"]


async def test_an_answer_that_cannot_all_be_read_says_nothing_of_what_it_lacks(db: Database) -> None:
    await show(db, reading(0), reading(1, 120))

    await show(db, reading(0), rejected=(Rejected("egv:unread:1", "unreadable"),))

    assert await absent(db) == []


def named(key: str, value: int) -> Reading:
    """One measurement of one transmitter, as the vendor calls it."""
    return reading(0, value, key, transmitter_hash=b"t" * 32, transmitter_ticks=77)


@pytest.mark.parametrize("between", [100, 117])
async def test_under_its_new_name_alone_a_reading_is_corrected_as_under_the_old(db: Database, between: int) -> None:
    await show(db, named("old", 100))
    before = await stored(db)

    await show(db, named("new", between))
    assert await stored(db) == [(before[0][0], between)]
    await show(db, named("new", 117))

    assert await stored(db) == [(before[0][0], 117)]


async def test_while_the_first_name_is_shown_its_value_counts(db: Database) -> None:
    await show(db, named("old", 100))
    before = await stored(db)

    await show(db, named("old", 100), named("new", 117))
    assert await stored(db) == before
    await show(db, named("new", 117))
    await show(db, named("old", 100), named("new", 117))

    assert await stored(db) == before


async def test_a_record_under_a_new_name_is_the_same_reading_and_the_old_name_is_absent(db: Database) -> None:
    first = reading(0, 100, "old", transmitter_hash=b"t" * 32, transmitter_ticks=77)
    await show(db, first)
    before = await stored(db)

    await show(db, reading(0, 100, "new", transmitter_hash=b"t" * 32, transmitter_ticks=77))

    assert (await absent(db), await stored(db)) == (["old"], before)


async def test_a_trend_that_only_the_newest_one_has_stays_when_a_newer_one_has_come(db: Database) -> None:
    await save(db, reading(0, trend="flat", trend_rate=0.4))

    again = await save(db, reading(0), reading(1, 105, trend="singleUp"))
    last = await save(db, reading(0), reading(1, 105))

    assert (again.inserted, again.updated, last.inserted, last.updated) == (1, 0, 0, 0)
    async with db.as_worker() as conn:
        cursor = await conn.execute("select trend, trend_rate from cgm_private.reading_details order by record_key")
        assert [(row["trend"], row["trend_rate"]) for row in await cursor.fetchall()] == [
            ("flat", 0.4), ("singleUp", None)
        ]  # fmt: skip


@pytest.mark.parametrize("history_first", [True, False])
async def test_a_present_value_never_rewrites_what_the_vendors_history_says_of_the_same_slot(
    db: Database, history_first: bool
) -> None:
    slot = timedelta(minutes=2, seconds=20)
    history = Owner("p-1", "c-1", "libre/libre/account", lesser=("libre/libre.live/",), slot=slot)
    live = Owner(
        "p-1", "c-1", "libre/libre.live/account", greater=("libre/libre/", "libre/libre.live/"), slot=slot, shares=True
    )
    said = [(reading(0, 110, "history"), history), (reading(0, 100, "now"), live)]

    for one, owner in said if history_first else reversed(said):
        await save(db, one, owner=owner)
    assert [value for _id, value in await stored(db)] == [110]

    await save(db, reading(0, 104, "now"), owner=live)
    assert [value for _id, value in await stored(db)] == [110]


async def test_two_persons_whose_hashes_are_the_same_are_told_apart(database: Any, db: Database) -> None:
    # What a chance of one in 2^64 would do: all persons have one hash.
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute("create schema same")
        admin.execute("grant usage on schema same to public")
        admin.execute("create function same.hashtextextended(text, bigint) returns bigint return 7")
        admin.execute("create function same.hashtextextended(text, integer) returns bigint return 7")
        name = psycopg.sql.Identifier(admin.info.dbname)
        admin.execute(psycopg.sql.SQL("alter database {} set search_path = same, pg_catalog, public").format(name))
    tick = {"transmitter_hash": b"t" * 32, "transmitter_ticks": 77}
    of_two = Owner("p-2", None, OWNER.stream)

    async with open_database(database.service_dsn, Vault(secrets.token_bytes(32)), largest=1) as alike:
        first = await save(alike, reading(0, 100, "one", **tick))
        second = await save(alike, reading(0, 140, "two", **tick), owner=of_two)
        by_file = Owner("p-2", None, "dexcom/clarity_csv/mg_dL")
        third = await save(alike, reading(9, 100, "three", transmitter_ticks=77), owner=by_file)

    assert (first.inserted, second.inserted, third.inserted) == (1, 1, 1)
    assert sorted(value for _, value in await stored(db)) == [100, 100, 140]
