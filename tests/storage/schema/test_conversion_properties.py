"""Whatever people's rows look like: none is lost in the conversion of provider, and its rollback brings each back."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from by_hand import CONNECTIONS, READINGS, ROLLBACK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row
from verify_worlds import load

from evercgm.storage.schema.migration_files import migrations

FIRST, CONVERSION = (migration.text().encode() for migration in migrations()[:2])
KNOWN = {
    "dexcom": "dexcom",
    "dexcom g6": "dexcom",
    "dexcom one+": "dexcom",
    "libre": "libre",
    "freestyle libre": "libre",
    "abbott": "abbott",
    "carelink": "medtronic",
}
ASIDE = "select id, connection, reading_ids, kept_id from cgm_private.quarantined_connections"
BLANKS = st.sampled_from(["", " ", "  ", "\t", "\n", "\u00a0"])


@dataclass(frozen=True)
class Made:
    """A connection of the old form: what it says, what it means (None: nobody knows), and how good it is."""

    person: str
    spelling: str
    provider: str | None
    status: str
    last_sync_at: str | None
    updated_at: str
    readings: int


@st.composite
def spellings(draw: st.DrawFn) -> tuple[str, str | None]:
    """A text and its provider."""
    if draw(st.integers(0, 3)) == 0:
        text = draw(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6))
        return text + draw(st.sampled_from(["?", "", "x"])) if text.strip() else text, None
    alias = draw(st.sampled_from(sorted(KNOWN)))
    spelt = "".join(draw(st.sampled_from([letter, letter.upper()])) for letter in alias)
    middle = draw(st.sampled_from([" ", "  ", "\t"]))
    return draw(BLANKS) + spelt.replace(" ", middle) + draw(BLANKS), KNOWN[alias]


TIMES = st.integers(0, 59).map(lambda second: f"2025-10-16 11:25:{second:02}")
CONNECTION = st.tuples(
    st.sampled_from(["person-alice", "person-bob", "person-carl"]),
    spellings(),
    st.sampled_from(["connected", "disconnected", "error", "expired"]),
    st.none() | TIMES,
    TIMES,
    st.integers(0, 3),
).map(lambda one: Made(one[0], one[1][0], one[1][1], *one[2:]))
# One person may have one text once.
CONNECTIONS_MADE = st.lists(CONNECTION, max_size=12, unique_by=lambda one: (one.person, one.spelling))


@pytest.fixture(scope="module")
def staging(postgres: Any, shared_dir: Path) -> Iterator[psycopg.Connection[Any]]:
    """The staging form without its connections and readings."""
    fresh = postgres.create(f"test_conversion_properties_{secrets.token_hex(4)}")
    load(fresh.admin_dsn, shared_dir / "database/staging.sql")
    with psycopg.connect(fresh.admin_dsn, row_factory=dict_row) as connection:
        connection.execute(FIRST)
        connection.execute("delete from glucose_readings; delete from cgm_connections")
        connection.commit()
        yield connection
    postgres.drop(fresh.name)


def insert(connection: psycopg.Connection[Any], made: list[Made]) -> None:
    for number, one in enumerate(made):
        connection.execute(
            "insert into cgm_connections"
            " (id, person_id, provider, access_token, refresh_token, token_expires_at,"
            " status, last_sync_at, updated_at) values (%s, %s, %s, 'a', 'r', '2030-01-01', %s, %s, %s)",
            [f"c{number:02}", one.person, one.spelling, one.status, one.last_sync_at, one.updated_at],
        )
        for reading in range(one.readings):
            connection.execute(
                'insert into glucose_readings (id, person_id, "timestamp", value, source, cgm_connection_id)'
                " values (%s, %s, now(), 100, 'cgm', %s)",
                [f"c{number:02}-{reading}", one.person, f"c{number:02}"],
            )


def best(made: dict[str, Made]) -> str:
    """The id of the connection that is kept, by the rule of database.md."""
    by_id = sorted(made)
    by_update = sorted(by_id, key=lambda id_: made[id_].updated_at, reverse=True)
    by_sync = sorted(by_update, key=lambda id_: made[id_].last_sync_at or "", reverse=True)
    return min(by_sync, key=lambda id_: made[id_].status != "connected")


def read(connection: psycopg.Connection[Any], query: str) -> dict[str, Any]:
    found = [next(iter(row.values())) for row in connection.execute(query.encode()).fetchall()]
    return {row["id"]: row for row in found}


def expected_kept(made: dict[str, Made]) -> dict[str, str]:
    """Id → id of the kept connection of the same person and provider; without those that nobody knows."""
    groups: dict[tuple[str, str], dict[str, Made]] = {}
    for id_, one in made.items():
        if one.provider is not None:
            groups.setdefault((one.person, one.provider), {})[id_] = one
    return {id_: best(group) for group in groups.values() for id_ in group}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made_list=CONNECTIONS_MADE)
def test_no_connection_and_no_reading_is_lost(staging: psycopg.Connection[Any], made_list: list[Made]) -> None:
    staging.rollback()
    insert(staging, made_list)
    made = {f"c{number:02}": one for number, one in enumerate(made_list)}
    before, readings = read(staging, CONNECTIONS), read(staging, READINGS)
    kept_of = expected_kept(made)

    staging.execute(CONVERSION)

    kept = read(staging, CONNECTIONS)
    aside = {row["id"]: row for row in staging.execute(ASIDE).fetchall()}
    assert kept.keys() | aside.keys() == made.keys()
    assert len(kept) + len(aside) == len(made)
    assert kept.keys() == set(kept_of.values())
    for id_, row in kept.items():
        assert row["provider"] == made[id_].provider
        assert (row["metadata"] or {}).get("providerOriginal", row["provider"]) == made[id_].spelling
    for id_, row in aside.items():
        assert row["connection"] == {**before[id_], "metadata": None}
        assert row["kept_id"] == kept_of.get(id_)
        assert sorted(row["reading_ids"]) == [one for one in sorted(readings) if one.startswith(f"{id_}-")]
    assert read(staging, READINGS) == {
        id_: {**row, "cgm_connection_id": kept_of.get(row["cgm_connection_id"])} for id_, row in readings.items()
    }

    staging.execute(ROLLBACK.read_bytes())

    assert read(staging, CONNECTIONS) == {id_: {**row, "metadata": None} for id_, row in before.items()}
    assert read(staging, READINGS) == readings
    staging.rollback()
