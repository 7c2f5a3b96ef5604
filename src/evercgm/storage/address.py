"""The one way from a database's address (a DSN) to a connection. What is wrong with one is said by its setting.

An address, a host or a password is never repeated: the driver's own messages may hold the whole of it.
"""

import re
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict

from evercgm.core.errors import SettingsError

PATIENCE_S = 10
# A server that is gone without a word (its machine, the network between) is noticed within half a minute; left to
# themselves systems wait for a quarter of an hour, or two. An address that says otherwise is obeyed.
_NOTICED = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}
# What libpq says, in words for people. The rest of its text may hold hosts and users.
_CAUSES = (
    (r"password authentication failed|no password supplied", "the role's name or its password is refused"),
    (r'database ".*" does not exist', "there is no database of that name on the server"),
    (r'role ".*" does not exist', "there is no role of that name on the server"),
    (r"Tenant or user not found", "the pooler does not know this user (Supabase: it is postgres.PROJECT there)"),
    (r"permission denied for database", "this role may not connect to this database"),
    (r"the database system is", "the server is starting or stopping: try again"),
    (r"Network is unreachable|No route to host",
     "its network cannot be reached from here (Supabase's direct address needs IPv6; its session pooler does not)"),
    (r"no pg_hba.conf entry", "the server does not let this role in from here (pg_hba.conf)"),
    (r"Connection refused", "nothing listens there (connection refused)"),
    (r"invalid integer value|invalid .* value:", "this is no PostgreSQL URL: a part of it has no such value"),
    (r"could not translate host name|failed to resolve host|Name or service not known",
     "the name of the host is not known"),
    (r"timeout|timed out", "no answer in time"),
    (r"(unexpected|invalid) response|but received|lost synchronization|server closed the connection",
     "what answers there is no PostgreSQL"),
    (r"SSL|certificate", "the encrypted connection failed (TLS)"),
    (r"too many (clients|connections)", "the server has no connection left"),
)  # fmt: skip


async def connect(dsn: str, setting: str, **options: Any) -> AsyncConnection[Any]:
    """A connection within 10 s; ``options`` are the driver's. Raises SettingsError naming ``setting``: none is had."""
    options = {**notices_silence(dsn, setting), "connect_timeout": PATIENCE_S, **options}
    try:
        return await AsyncConnection.connect(dsn, **options)
    except (psycopg.ProgrammingError, ValueError):
        raise _unreadable(setting) from None
    except (psycopg.Error, OSError) as failure:
        raise SettingsError(f"{setting}: {_cause(failure)}") from None


def parts_of(dsn: str, setting: str) -> dict[str, Any]:
    """The parts of an address as libpq reads it. Raises SettingsError naming ``setting``: it cannot be read."""
    try:
        return conninfo_to_dict(dsn)
    except (psycopg.ProgrammingError, ValueError):
        raise _unreadable(setting) from None


def notices_silence(dsn: str, setting: str) -> dict[str, Any]:
    """Options of the driver beside an address, so that a silent server is noticed. Raises SettingsError as above."""
    said = parts_of(dsn, setting)
    return {name: value for name, value in _NOTICED.items() if name not in said}


def _unreadable(setting: str) -> SettingsError:
    return SettingsError(f"{setting}: this is no PostgreSQL URL, expected postgresql://…")


def _cause(failure: Exception) -> str:
    text = str(failure)
    for pattern, words in _CAUSES:
        if re.search(pattern, text, re.IGNORECASE):
            return words
    return f"the database does not answer ({type(failure).__name__})"
