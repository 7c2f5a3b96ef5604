"""What the vendor holds and what we stored, as comparable lists."""

from datetime import UTC, datetime
from typing import Any

import httpx2
import psycopg
from demo_process import Demo

Series = list[tuple[datetime, int]]


def truth(demo: Demo, username: str) -> Series:
    """Every reading that the simulated account has had, oldest first: (instant in UTC, mg/dL)."""
    rows = httpx2.get(f"{demo.control}/accounts/{username}/truth", timeout=60, trust_env=False).json()
    return [(_instant(row["systemTime"]), int(row["value"])) for row in rows]


def stored(demo: Demo, person_id: str) -> Series:
    """Every stored reading of a person, oldest first, duplicates included."""
    query = 'select "timestamp", value from public.glucose_readings where person_id = %s order by 1'
    return [(row[0].replace(tzinfo=UTC), int(row[1])) for row in sql(demo, query, person_id)]


def sql(demo: Demo, query: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(demo.line["admin_database_url"]) as conn:
        return conn.execute(query, values).fetchall()


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).astimezone(UTC)
