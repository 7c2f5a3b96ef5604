"""20,000 persons and no index on "ownerId", as the host has it: who is asking is found once a query, not once a row."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest

from evercgm.storage.views import QUERIES

PERSONS = 20_000
OWNER_ID = str(UUID(int=1))
FILL = [
    'drop index if exists public."Person_ownerId_idx"',
    f"""insert into public."Person" (id, "ownerId")
    select 'p-' || n, case when n <= 2 then '{OWNER_ID}' else gen_random_uuid()::text end
      from generate_series(1, {PERSONS}) n""",
    f"""insert into public.cgm_connections (id, person_id, provider, access_token, refresh_token, token_expires_at)
    select 'c-' || n, 'p-' || n, 'dexcom', '', '', '9999-12-31' from generate_series(1, {PERSONS}) n""",
    """insert into cgm_private.sync_state (connection_id, person_id, provider, region)
    select id, person_id, provider, 'us' from public.cgm_connections""",
    "vacuum analyze",
]
CONDITIONS = ("Filter", "Index Cond", "Join Filter", "Hash Cond", "Recheck Cond", "Merge Cond")
# What auth.uid() is once it is written out into a plan.
WHO_IS_ASKING = ("auth.uid", "current_setting")
BARE = """
alter policy "Users can view own CGM connections" on public.cgm_connections using (exists (
  select 1 from public."Person" p where p.id = cgm_connections.person_id and p."ownerId" = auth.uid()::text))
"""
LISTS = {
    "by the service": ("cgm_request", QUERIES["connections"]),
    "by an API client": ("authenticated", "select id, person_id, status from public.cgm_connections"),
}


@pytest.fixture(params=[True, False], ids=["host-rls-on", "host-rls-off"])
def crowded(request: Any, make_database: Any) -> Any:
    database = make_database(host_rls=request.param)
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        for statement in FILL:
            admin.execute(statement.encode())
        # An API client reads its persons by the host's own rights, with or without its row-level security.
        admin.execute('grant select (id, "ownerId") on public."Person" to authenticated')
    return database


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


@pytest.mark.parametrize("way", LISTS)
def test_who_is_asking_is_found_once_a_query(crowded: Any, way: str) -> None:
    role, query = LISTS[way]
    claims = json.dumps({"sub": OWNER_ID, "role": "authenticated"})

    with psycopg.connect(crowded.admin_dsn) as conn:
        conn.execute("select set_config('request.jwt.claims', %s, true), set_config('role', %s, true)", [claims, role])
        values = {"person_id": None, "connection_id": None}
        found = conn.execute(f"explain (analyze, format json) {query}".encode(), values).fetchone()

    assert found is not None
    plan = found[0][0]["Plan"]
    assert plan["Actual Rows"] == 2
    conditions = [str(node[name]) for node in nodes(plan) for name in CONDITIONS if name in node]
    assert [text for text in conditions if any(word in text for word in WHO_IS_ASKING)] == []
    assert [node for node in nodes(plan) if str(node.get("Subplan Name", "")).startswith("InitPlan")]
    # Nothing is done anew for each of the 20,000: at most once for each connection that is listed.
    assert max(node["Actual Loops"] for node in nodes(plan)) <= 2


def test_a_policy_that_asks_in_each_row_would_be_seen(crowded: Any) -> None:
    with psycopg.connect(crowded.admin_dsn) as conn:
        conn.execute(BARE)
        conn.execute("select set_config('role', 'authenticated', true)")
        found = conn.execute("explain (format json) select id from public.cgm_connections").fetchone()

    assert found is not None
    assert any(word in json.dumps(found[0]) for word in WHO_IS_ASKING)
