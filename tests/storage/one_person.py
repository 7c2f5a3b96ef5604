"""A person with one connection, for tests that save readings and need no cloud."""

import psycopg


def make_person(owner_dsn: str, provider: str = "dexcom") -> None:
    """Persons p-1 and p-2 of one owner; the first has connection c-1."""
    with psycopg.connect(owner_dsn) as conn:
        conn.execute("""insert into public."Person" ("id", "ownerId") values ('p-1', 'o'), ('p-2', 'o')""")
        conn.execute(
            """insert into public.cgm_connections
                 (id, person_id, provider, access_token, refresh_token, token_expires_at, updated_at)
               values ('c-1', 'p-1', %s::"CGMProvider", '', '', now(), now())""",
            [provider],
        )
