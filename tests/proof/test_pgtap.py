"""supabase/tests, run by pg_prove with pgTAP on Debian's PostgreSQL 15, in a database that is thrown away."""

import re
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from urllib.parse import urlsplit

import psycopg
import pytest
from debian_postgres import Place, fresh_places
from foreign_tools import ROOT, find_tool, run, said
from starts import lay

from evercgm.storage.schema.migrate import migrate

TESTS = ROOT / "supabase" / "tests"
OURS = """
select c.relname::text
  from pg_class c
 where c.relkind in ('r', 'p')
   and (c.relnamespace = 'cgm_private'::regnamespace
        or c.relnamespace = 'public'::regnamespace and c.relname in ('Person', 'cgm_connections', 'glucose_readings'))
"""


class Prover:
    """pg_prove on one database."""

    def __init__(self, dsn: str):
        self.dsn = dsn
        self.program = find_tool("pg_prove", "libtap-parser-sourcehandler-pgtap-perl")
        self.psql = find_tool("psql", "postgresql-client-15", also="/usr/lib/postgresql/15/bin")
        if not Path("/usr/share/postgresql/15/extension/pgtap.control").is_file():
            pytest.fail("pgTAP is missing; install it with: sudo apt-get install -y postgresql-15-pgtap")
        done = self._run(self.psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", TESTS / "shared/setup.psql")
        assert done.returncode == 0, said(done)

    def prove(self, *files: Path) -> CompletedProcess[str]:
        return self._run(self.program, "--psql-bin", self.psql, "--failures", *files)

    def _run(self, *words: str | Path) -> CompletedProcess[str]:
        parts = urlsplit(self.dsn)
        env = {
            **{"PGHOST": str(parts.hostname), "PGPORT": str(parts.port), "PGDATABASE": parts.path.lstrip("/")},
            **{"PGUSER": str(parts.username), "PGPASSWORD": str(parts.password)},
        }
        return run(*words, cwd=TESTS, env=env)


@pytest.fixture
def place(debian_url: str) -> Iterator[Place]:
    """An empty database on the throw-away server."""
    with fresh_places(debian_url) as places:
        yield places[0]


@pytest.mark.parametrize("start", ["empty", "staging", "production"])
async def test_every_check_of_every_table_passes(place: Place, start: str) -> None:
    await lay(place, start, host_rls="on")
    await migrate(place.admin_dsn, unknown="quarantine")

    done = Prover(place.admin_dsn).prove(*sorted(TESTS.glob("*.sql")))

    assert done.returncode == 0, said(done)[-6000:]
    counted = re.search(r"Files=(\d+), Tests=(\d+)", done.stdout)
    assert counted is not None
    assert int(counted.group(1)) == len(list(TESTS.glob("*.sql")))
    with psycopg.connect(place.admin_dsn) as connection:
        tables = {row[0] for row in connection.execute(OURS.encode()).fetchall()}
    assert tables == {path.stem for path in TESTS.glob("*.sql")}


async def test_without_the_hosts_row_level_security_the_isolation_of_readings_is_the_services_alone(
    place: Place,
) -> None:
    await lay(place, "production", host_rls="off", auto_grants="off")
    await migrate(place.admin_dsn)

    done = Prover(place.admin_dsn).prove(TESTS / "glucose_readings.sql")

    assert done.returncode == 0, said(done)[-6000:]


@pytest.mark.parametrize(
    ("harm", "file", "caught"),
    [
        (
            'alter policy "Users can view own CGM connections" on cgm_connections using (true)',
            "cgm_connections",
            "Test User Isolation: a stranger sees none",
        ),
        ("grant select on cgm_connections to authenticated", "cgm_connections", "no owner reads an access token"),
        ("drop trigger glucose_readings_own_connection on glucose_readings", "glucose_readings", "another person's"),
        (
            "create policy open on glucose_readings for select using (true)",
            "glucose_readings",
            "Isolation: a stranger sees none",
        ),
        ("alter table cgm_private.routes disable row level security", "routes", "routes: row-level security is on"),
        ("grant update on cgm_private.audit_events to cgm_worker", "audit_events", "the service changes nothing"),
    ],
)
async def test_the_checks_catch_what_they_are_for(place: Place, harm: str, file: str, caught: str) -> None:
    await lay(place, "empty")
    await migrate(place.admin_dsn)
    with psycopg.connect(place.admin_dsn) as connection:
        connection.execute(harm.encode())

    done = Prover(place.admin_dsn).prove(TESTS / f"{file}.sql")

    assert done.returncode != 0
    assert caught in said(done)
