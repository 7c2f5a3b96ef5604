"""The list of places where sealed values live is whole, and each is read where its writer puts it."""

import secrets
from typing import Any

import pytest
from sealed_world import fill, fill_connection, run

from evercgm.actions import rotate_keys
from evercgm.actions.rotate_keys import Kind
from evercgm.storage import sealed
from evercgm.storage.database import open_database
from evercgm.storage.sealed import Change
from evercgm.storage.vault import Vault, key_id

KEY = secrets.token_bytes(32)
SEALED_NAMES = r"^sealed_|_token$|^secret$|^session$|^pkce_verifier$"
EVERY_PLACE = {
    "cgm_connections.access_token",
    "cgm_connections.refresh_token",
    "sync_state.previous_refresh_token",
    "oauth_attempts.pkce_verifier",
    "oauth_attempts.sealed_access",
    "oauth_attempts.sealed_refresh",
    "routes.secret",
    "routes.session",
    "signing_keys.sealed_private",
    "quarantined_connections.access_token",
    "quarantined_connections.refresh_token",
    "host_connections.access_token",
    "host_connections.refresh_token",
}


def test_every_column_for_a_secret_is_in_the_list(database: Any) -> None:
    columns = run(
        database.admin_dsn,
        """select table_schema || '.' || table_name, column_name from information_schema.columns
           where table_schema = 'cgm_private' and column_name ~ %s and data_type in ('text', 'character varying')""",
        SEALED_NAMES,
    )

    listed = {(store.relation, column) for store in sealed.STORES for column in store.columns}

    assert len(columns) == 7
    assert set(columns) <= listed


async def test_each_writer_puts_its_value_where_the_list_looks_for_it(database: Any) -> None:
    async with open_database(database.service_dsn, Vault(KEY)) as db:
        await fill(db, database.admin_dsn)
        found = await rotate_keys.look(db)
        async with db.as_worker() as conn:
            named = await sealed.named_keys(conn)

    ours = Kind("ours", key_id(KEY))
    assert set(found.places) == EVERY_PLACE
    assert {name for name, kinds in found.places.items() if kinds[ours]} == {
        name for name in EVERY_PLACE if not name.startswith("host_")
    }
    assert found.places["host_connections.access_token"] == {Kind("host"): 1}
    assert found.places["host_connections.refresh_token"] == {Kind("plain"): 1}
    assert found.unopened == 0
    # The doctor counts ours without opening them: all but the two that lie aside.
    assert named == {key_id(KEY): found.needed[key_id(KEY)] - 2}


async def test_the_host_apps_rows_and_what_has_run_out_are_nobodys_fault(database: Any) -> None:
    async with open_database(database.service_dsn, Vault(KEY)) as db:
        await fill(db, database.admin_dsn)
        run(database.admin_dsn, "update public.cgm_connections set access_token = 'enc:x' where id = 'h-1'")
        run(database.admin_dsn, "update cgm_private.oauth_attempts set expires_at = now(), pkce_verifier = 'broken'")
        found = await rotate_keys.look(db)

    assert found.places["host_connections.access_token"] == {Kind("unreadable"): 1}
    assert found.places["oauth_attempts.pkce_verifier"] == {}
    assert found.unopened == 0


@pytest.mark.parametrize("form", ["plain-text-token", f"{'ab' * 16}:{'cd' * 16}:ef01", "v1.00000000.AAAA", "enc:x"])
async def test_a_value_of_ours_in_any_other_form_does_not_open(database: Any, form: str) -> None:
    async with open_database(database.service_dsn, Vault(KEY)) as db:
        connection_id = await fill(db, database.admin_dsn)
        run(
            database.admin_dsn, "update public.cgm_connections set access_token = %s where id = %s", form, connection_id
        )
        found = await rotate_keys.look(db)

    assert found.unopened == 1


async def test_a_value_put_where_another_belongs_does_not_open(database: Any) -> None:
    async with open_database(database.service_dsn, Vault(KEY)) as db:
        one, other = [await fill_connection(db, database.admin_dsn) for _ in range(2)]
        run(
            database.admin_dsn,
            """update public.cgm_connections c set access_token = o.access_token
               from public.cgm_connections o where c.id = %s and o.id = %s""",
            one,
            other,
        )
        run(
            database.admin_dsn,
            "update public.cgm_connections set refresh_token = access_token where id = %s",
            other,
        )
        found = await rotate_keys.look(db)

    moved = Kind("unreadable", key_id(KEY))
    assert found.places["cgm_connections.access_token"][moved] == 1
    assert found.places["cgm_connections.refresh_token"][moved] == 1
    assert found.unopened == 2


@pytest.mark.parametrize("store", [store for store in sealed.STORES if store.resealed], ids=lambda store: store.name)
async def test_a_value_that_changed_since_it_was_read_is_not_written_over(database: Any, store: sealed.Store) -> None:
    async with open_database(database.service_dsn, Vault(KEY)) as db:
        await fill(db, database.admin_dsn)
        async with db.as_worker() as conn:
            read = await sealed.page(conn, store, "")
        for column in store.columns:
            change_each(database.admin_dsn, store, column, "changed")
            async with db.as_worker() as conn:
                stale = [Change(row["id"], {column: (row[column], "anew")}) for row in read if row[column]]
                assert await sealed.reseal(conn, store, stale) == set()
                now = await sealed.page(conn, store, "")
                assert {row[column] for row in now} == {"changed"}
                # What was not read with it may change meanwhile: that column is left alone.
                fresh = [Change(row["id"], {column: (row[column], "anew")}) for row in now]
                assert await sealed.reseal(conn, store, fresh) == {row["id"] for row in now}
                after = await sealed.page(conn, store, "")
            assert [{**row, column: "anew"} for row in now] == after


def change_each(dsn: str, store: sealed.Store, column: str, text: str) -> None:
    """As another process would, in the meantime."""
    if store.name == "quarantined_connections":
        path = f"{{{column}}}"
        run(dsn, f"update {store.relation} set connection = jsonb_set(connection, '{path}', to_jsonb(%s::text))", text)
    elif store.name == "cgm_connections":
        ours = "exists (select from cgm_private.sync_state s where s.connection_id = id)"
        run(dsn, f"update {store.relation} set {column} = %s where {ours}", text)
    else:
        run(dsn, f"update {store.relation} set {column} = %s", text)


def test_a_change_does_not_show_what_it_holds() -> None:
    change = Change("c-1", {"access_token": ("what was stored", "what will be")})

    assert "what" not in f"{change!r} {change}"
