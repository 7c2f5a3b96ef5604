"""Ten thousand connections due at once, a vendor that takes two seconds to answer: bounded, and people do not wait."""

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from crowd import copy_often
from demo_process import Demo, connect, passable_folder, start_demo, until
from series import sql
from test_thread import child_of

CROWD, FEW = 10_000, 10
VENDOR_TAKES_S = 2
SERVED_WITHIN_S = 5
# Persons press one after another, the last ones at the same moment.
ONE_BY_ONE, TOGETHER = 6, 4
# The pool of the service, that of the worker, and the job engine's own.
MOST_CONNECTIONS = 10 + 10 + 1
MOST_MEMORY = 1.5
# The demo's worker as it comes.
PLACES = 20
DUE = """update cgm_private.sync_state set next_sync_at = now() where connection_id = any(%s) returning connection_id"""
LEFT = "select count(*) from cgm_private.sync_state where next_sync_at <= now()"
OPEN = "select count(*) from pg_stat_activity where usename = 'evercgm'"
WAITED = """select extract(epoch from coalesce(started_at, now()) - requested_at)::float8, started_at is not null
            from cgm_private.sync_runs where id = %s"""


@pytest.fixture
def demo() -> Iterator[Demo]:
    with passable_folder() as folder:
        started = start_demo(folder / "data")
        yield started
        assert started.stop() == 0, started.log.read_text()[-4000:]


def people(demo: Demo, count: int) -> list[str]:
    """Persons of the demo's owner who are connected and up to date; the ids of their connections."""
    for _ in range(count):
        person_id = str(uuid4())
        owner_id = demo.line["owner_id"]
        sql(demo, 'insert into public."Person" (id, "ownerId") values (%s, %s) returning id', person_id, owner_id)
        assert "cgm=connected" in connect(demo, person_id)
    until(
        lambda: sql(demo, "select count(*) from cgm_private.sync_runs where state <> 'done'") == [(0,)], "synced", 120
    )
    return [row[0] for row in sql(demo, "select id from public.cgm_connections order by created_at")]


def press(demo: Demo, connection_id: str) -> str:
    """The button; the run's id."""
    with demo.api() as api:
        asked = api.post("/sync", json={"connection_id": connection_id})
    assert asked.status_code == 202, asked.text
    return str(asked.json()["runs"][0]["id"])


def waited(demo: Demo, run_id: str) -> float:
    """For how long a run had to wait for its start, by the database's clock."""
    until(lambda: sql(demo, WAITED, run_id)[0][1], "it has started", 60)
    return float(sql(demo, WAITED, run_id)[0][0])


def peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1])  # type: ignore[index]


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def test_people_are_served_within_five_seconds_while_ten_thousand_wait(
    demo: Demo, record_property: Callable[[str, object], None]
) -> None:
    persons = people(demo, ONE_BY_ONE + TOGETHER)
    crowd = copy_often(demo, persons[0], CROWD)
    worker = child_of(demo, "work")
    httpx2.post(f"{demo.control}/faults", json={"set": {"slow": VENDOR_TAKES_S}}, trust_env=False).raise_for_status()
    for _warm_up in range(2):
        forget_peak(worker)
        sql(demo, DUE, crowd[:FEW])
        until(lambda: sql(demo, LEFT) == [(0,)], "the few are synced", 120)
    few_kib = peak_kib(worker)

    forget_peak(worker)
    sql(demo, DUE, crowd)
    until(
        lambda: sql(demo, "select count(*) from cgm_private.sync_runs where state = 'running'") == [(PLACES,)],
        "all places are taken",
    )
    waits = []
    for connection_id in persons[:ONE_BY_ONE]:
        waits.append(waited(demo, press(demo, connection_id)))
        time.sleep(VENDOR_TAKES_S)
    runs = [press(demo, connection_id) for connection_id in persons[ONE_BY_ONE:]]
    waits += [waited(demo, run_id) for run_id in runs]
    opened = max(sql(demo, OPEN)[0][0] for _ in range(50) if time.sleep(0.1) is None)

    left, many_kib = sql(demo, LEFT)[0][0], peak_kib(worker)
    record_property(
        "told",
        f"{CROWD} due, {left} of them at the end: people waited {max(waits):.2f} s at most, {opened} connections,"
        f" the worker's peak {many_kib / 1024:.0f} MiB, {few_kib / 1024:.0f} MiB with {FEW} due",
    )
    assert left > CROWD / 2
    assert max(waits) < SERVED_WITHIN_S
    assert opened <= MOST_CONNECTIONS
    assert many_kib <= MOST_MEMORY * few_kib
    assert sql(demo, "select distinct failure_count, reason from cgm_private.sync_state") == [(0, None)]
    os.kill(worker, 0)
