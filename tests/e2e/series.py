"""What the vendor holds and what we stored, as comparable lists."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import httpx2
import psycopg
from demo_process import Demo, until

Series = list[tuple[datetime, int]]


def truth(demo: Demo, username: str) -> Series:
    """Every reading that the simulated account has had, oldest first: (instant in UTC, mg/dL)."""
    rows = httpx2.get(f"{demo.control}/accounts/{username}/truth", timeout=60, trust_env=False).json()
    return [(_instant(row["systemTime"]), int(row["value"])) for row in rows]


def stored(demo: Demo, person_id: str) -> Series:
    """Every stored reading of a person, oldest first, duplicates included."""
    query = 'select "timestamp", value from public.glucose_readings where person_id = %s order by 1'
    return [(row[0].replace(tzinfo=UTC), int(row[1])) for row in sql(demo, query, person_id)]


def differing(demo: Demo, person_id: str, username: str, since: datetime) -> list[tuple[datetime, int]]:
    """Readings that one of the two has more often than the other; those after ``since`` may still wait for their sync.

    ``since``: an instant (aware) before the sync began. A look at one is never a look at both: a reading comes every
    five minutes, and is stored up to five minutes later.
    """
    ours = Counter(stored(demo, person_id))
    theirs = Counter(truth(demo, username))
    return [*(ours - theirs).elements(), *(row for row in (theirs - ours).elements() if row[0] <= since)]


def at_rest(demo: Demo, person_id: str) -> None:
    """Waits until no sync of this person is open: it would undo what a test does to the connection."""
    open_run = "select id from cgm_private.sync_runs where person_id = %s and state <> 'done'"
    until(lambda: not sql(demo, open_run, person_id), "no sync is open")


def everything_is_in(demo: Demo, person_id: str) -> None:
    """The first sync has ended, and the next one is far."""
    at_rest(demo, person_id)
    sql(
        demo,
        "update cgm_private.sync_state set next_sync_at = now() + interval '1 hour' where person_id = %s returning 1",
        person_id,
    )


def sql(demo: Demo, query: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(demo.line["admin_database_url"]) as conn:
        return conn.execute(query, values).fetchall()


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).astimezone(UTC)
