"""``evercgm erase`` as an operator types it: counted, asked, done or not at all, and again after a restore."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from demo_process import Demo, connect, environment, start_demo, until
from series import everything_is_in, sql, stored, truth
from test_browser import new_owner

ROWS = """select (select count(*) from public.glucose_readings where person_id = %(id)s),
                 (select count(*) from cgm_private.reading_details where person_id = %(id)s),
                 (select count(*) from cgm_private.sync_state where person_id = %(id)s),
                 (select count(*) from cgm_private.sync_runs where person_id = %(id)s),
                 (select count(*) from cgm_private.person_settings where person_id = %(id)s),
                 (select count(*) from cgm_private.erased_persons where person_id = %(id)s)"""


@pytest.fixture(scope="module")
def own_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    started = start_demo(tmp_path_factory.mktemp("erase") / "data")
    yield started
    assert started.stop() == 0


@pytest.fixture
def person_id(own_demo: Demo) -> str:
    """A person of a new owner, with the whole history of an account."""
    owner, person_id, _link = new_owner(own_demo, "Kim")
    jwt = json.loads(own_demo.command("sign-in", "--owner", owner, "--json").stdout)["jwt"]
    assert "cgm=connected" in connect(own_demo, person_id, "User7", jwt)
    until(lambda: len(stored(own_demo, person_id)) >= len(truth(own_demo, "User7")) - 1, "the history is stored")
    # So that no reading comes while a test counts.
    everything_is_in(own_demo, person_id)
    return person_id


def command(demo: Demo, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "evercgm.cli.main", "erase", *arguments]


def erase(demo: Demo, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(demo, *arguments),
        env=environment(demo.data_dir),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def rows(demo: Demo, person_id: str) -> tuple[Any, ...]:
    with psycopg.connect(demo.line["admin_database_url"]) as conn:
        found = conn.execute(ROWS, {"id": person_id}).fetchone()
    assert found is not None
    return tuple(found)


def add_finger_prick(demo: Demo, person_id: str) -> None:
    with psycopg.connect(demo.line["admin_database_url"], autocommit=True) as conn:
        conn.execute(
            'insert into public.glucose_readings (id, person_id, "timestamp", value, source)'
            " values (%s, %s, now() - interval '1 year', 90, 'fingerstick')",
            [f"host-{person_id}", person_id],
        )


def test_counted_first_then_deleted_for_good_and_listed(own_demo: Demo, person_id: str) -> None:
    add_finger_prick(own_demo, person_id)
    before = rows(own_demo, person_id)

    nobody = erase(own_demo, "--person", person_id)
    counted = erase(own_demo, "--person", person_id, "--dry-run")
    as_json = json.loads(erase(own_demo, "--person", person_id, "--dry-run", "--json").stdout)

    assert nobody.returncode == 2
    assert "--yes" in nobody.stderr
    assert counted.returncode == 0
    assert f"{before[0] - 1} readings (cgm)" in counted.stdout
    assert "1 readings (fingerstick; --all-readings deletes them, too)" in counted.stdout
    assert (as_json["dry_run"], as_json["erased"]["connections"]) == (True, 1)
    assert as_json["kept"] == {"readings": {"fingerstick": 1}, "connections": 0}
    assert rows(own_demo, person_id)[:3] == before[:3]

    done = erase(own_demo, "--person", person_id, "--yes", "--json")
    listed = erase(own_demo, "--list", "--json")

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert rows(own_demo, person_id) == (1, 0, 0, 0, 0, 1)
    (line,) = [line for line in listed.stdout.splitlines() if person_id in line]
    assert json.loads(line)["all_readings_at"] is None
    assert person_id in erase(own_demo, "--list").stdout


@pytest.mark.parametrize(("typed", "code"), [("another id", 2), ("", 1), ("the id", 0)])
def test_only_the_persons_own_id_typed_in_full_is_a_yes(own_demo: Demo, person_id: str, typed: str, code: int) -> None:
    before = rows(own_demo, person_id)

    said, ended = at_a_terminal(own_demo, person_id if typed == "the id" else typed, "--person", person_id)

    assert ended == code, said
    assert "Type the person's id" in said
    assert (rows(own_demo, person_id)[:4] == before[:4]) == (code != 0)


def at_a_terminal(demo: Demo, typed: str, *arguments: str) -> tuple[str, int]:
    """Run it at a terminal of its own, type one line (and leave); what was shown, and the exit code."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(demo, *arguments), env=environment(demo.data_dir), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    said = b""
    answered = False
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:
            break
        said += part
        if not answered and b"for good: " in said:
            answered = True
            # An empty line would be asked again: the person leaves with ctrl-D.
            os.write(ours, f"{typed}\n".encode() if typed else b"\x04")
    os.close(ours)
    return said.decode(), process.wait(60)


def test_killed_half_way_everything_is_still_there_and_the_next_run_ends_it(own_demo: Demo, person_id: str) -> None:
    before = rows(own_demo, person_id)
    assert before[0] > 1000
    # Whoever holds this row stops the erasure at its last statement: everything is deleted, nothing is committed.
    with psycopg.connect(own_demo.line["admin_database_url"]) as holder:
        holder.execute("insert into cgm_private.erased_persons (person_id) values (%s)", [person_id])
        process = subprocess.Popen(
            command(own_demo, "--person", person_id, "--yes"),
            env=environment(own_demo.data_dir),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: waits_at_its_end(own_demo), "the erasure waits at its end", 60)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        holder.rollback()
    until(lambda: not waits_at_its_end(own_demo), "its transaction has ended", 60)

    assert process.returncode == -signal.SIGKILL
    assert rows(own_demo, person_id) == before

    assert erase(own_demo, "--person", person_id, "--yes").returncode == 0
    assert rows(own_demo, person_id) == (0, 0, 0, 0, 0, 1)


def waits_at_its_end(demo: Demo) -> bool:
    """Whether a session waits for a lock in the statement that notes an erasure."""
    query = """select count(*) from pg_stat_activity
               where state <> 'idle' and query like '%%cgm_private.erased_persons%%' and wait_event_type = 'Lock'"""
    return bool(sql(demo, query)[0][0])


def test_after_a_restore_the_list_is_replayed(own_demo: Demo, person_id: str, tmp_path: Path) -> None:
    add_finger_prick(own_demo, person_id)
    before = rows(own_demo, person_id)
    now = sql(own_demo, "select now()")[0][0].isoformat()
    time.sleep(0.01)
    listed = tmp_path / "erased.txt"
    listed.write_text(f"{person_id}\t{now}\nnever-seen\t{now}\n")

    nobody = erase(own_demo, "--replay", str(listed))
    counted = json.loads(erase(own_demo, "--replay", str(listed), "--dry-run", "--json").stdout)
    unchanged = rows(own_demo, person_id)
    done = json.loads(erase(own_demo, "--replay", str(listed), "--yes", "--json").stdout)

    assert nobody.returncode == 2
    assert "--yes" in nobody.stderr
    assert (counted["persons"], counted["erased"]["connections"]) == (2, 1)
    assert unchanged[:3] == before[:3]
    assert done["erased"]["readings"] == counted["erased"]["readings"]
    assert rows(own_demo, person_id) == (1, 0, 0, 0, 0, 1)
    again = erase(own_demo, "--list").stdout
    assert "never-seen" in again
    assert person_id in again


def test_a_wrong_line_refuses_the_whole_list(own_demo: Demo, person_id: str, tmp_path: Path) -> None:
    before = rows(own_demo, person_id)
    listed = tmp_path / "erased.txt"
    listed.write_text(f"{person_id}\t2026-01-01T00:00:00Z\n{person_id}\tyesterday\n")

    refused = erase(own_demo, "--replay", str(listed), "--yes")

    assert refused.returncode == 2
    assert "line 2" in refused.stderr
    assert rows(own_demo, person_id)[:3] == before[:3]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "--person"),
        (("--person", "x", "--list"), "--person"),
        (("--person", "nobody here", "--yes"), "--person"),
        (("--replay", "/nowhere/erased.txt", "--yes"), "--replay"),
        (("--replay", "/nowhere/erased.txt", "--all-readings"), "--all-readings"),
    ],
)
def test_bad_use_is_one_line_with_the_options_name(own_demo: Demo, arguments: tuple[str, ...], named: str) -> None:
    refused = erase(own_demo, *arguments)

    assert refused.returncode == 2
    assert refused.stderr.startswith(f"evercgm: {named}")
    assert len(refused.stderr.splitlines()) == 1
