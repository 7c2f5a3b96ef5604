"""Files run by hand, as psql does, and what a database holds, row by row."""

import re
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from evercgm.storage.schema.migration_files import migrations

VERSIONS = [migration.version for migration in migrations()]
ROLLBACK = Path(__file__).resolve().parents[3] / "supabase/rollbacks/20261124000001_cgm_match_production.sql"
# What a statement is made of, as far as semicolons in it do not end it.
_PIECES = re.compile(r"--[^\n]*|'(?:[^']|'')*'|\"[^\"]*\"|\$(\w*)\$.*?\$\1\$|;|[^;'\"$-]+|.", re.DOTALL)
# Connections and readings as they are stored, whatever the session's time zone and language.
CONNECTIONS = "select to_jsonb(c) from public.cgm_connections c order by id"
READINGS = "select to_jsonb(r) from public.glucose_readings r order by id"
QUARANTINED = "select to_jsonb(q) - 'created_at' from cgm_private.quarantined_connections q order by id"

# What a project may have said of everything that is made in it, whoever reads it then.
EVERYTHING_IS_OPEN = tuple(
    f"alter default privileges grant all on {kind} to public, anon, authenticated, service_role"
    for kind in ("tables", "sequences", "functions", "schemas")
)


def statements(text: str) -> list[str]:
    """The statements of a file, divided as psql and the Supabase CLI divide them."""
    found = [""]
    for piece in _PIECES.finditer(text):
        if piece.group() == ";":
            found.append("")
        elif not piece.group().startswith("--"):
            found[-1] += piece.group()
    return [one.strip() for one in found if one.strip()]


def run_as_psql(dsn: str, path: Path) -> list[str]:
    """Each statement in a transaction of its own, until one fails; what the server said meanwhile."""
    said: list[str] = []
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
        for statement in statements(path.read_text()):
            connection.execute(statement.encode())
    return said


def run_as_one(dsn: str, path: Path, **settings: str) -> None:
    """The file in one transaction, with these settings."""
    with psycopg.connect(dsn) as connection:
        for name, value in settings.items():
            connection.execute("select set_config(%s, %s, true)", [name.replace("__", "."), value])
        connection.execute(path.read_bytes())


def run(dsn: str, *texts: str) -> None:
    """Statements, in one transaction."""
    with psycopg.connect(dsn) as connection:
        for text in texts:
            connection.execute(text.encode())


def rows(dsn: str, query: str) -> list[Any]:
    """All rows of a query."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def held(dsn: str) -> list[Any]:
    """All connections and readings."""
    return [rows(dsn, CONNECTIONS), rows(dsn, READINGS)]


def speak(dsn: str, name: str, time_zone: str, date_style: str) -> None:
    """Let the database speak another language to everybody who comes without a wish."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for setting, value in (("timezone", time_zone), ("datestyle", date_style)):
            connection.execute(
                sql.SQL("alter database {} set {} = {}").format(
                    sql.Identifier(name), sql.Identifier(setting), sql.Literal(value)
                )
            )
