"""What a command finds around it: settings, the database it should use, the key of the data directory."""

import asyncio
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from evercgm.core.errors import SettingsError
from evercgm.core.tokens import Secret
from evercgm.settings import Settings, parse_key, read_settings
from evercgm.storage import embedded
from evercgm.storage.schema.prepare import prepare

KEY_FILE = "encryption.key"
# What a running demo tells the commands beside it; in the data directory, mode 0600.
DEMO_ENVIRONMENT = "demo-environment.json"


@dataclass(frozen=True, slots=True)
class Databases:
    """DSNs of the service's role, of the worker's direct connection, and of the migrating role if there is one."""

    service: Secret
    worker: Secret
    migration: Secret | None
    server: embedded.Embedded | None = None


def find_settings(
    env: Mapping[str, str] | None = None, *, simulators: bool = False, leaked_host_key: bool = False
) -> Settings:
    """The settings; those of a demo that runs in the data directory, and its key, where none are set.

    That key belongs to the embedded database: beside DATABASE_URL it seals and opens nothing.
    """
    given = dict(os.environ) if env is None else dict(env)
    settings = read_settings(given, simulators=simulators, leaked_host_key=leaked_host_key)
    beside = settings.data_dir / DEMO_ENVIRONMENT
    if env is None and settings.database_url is None and beside.is_file():
        both = {**json.loads(beside.read_text()), **given}
        settings = read_settings(both, simulators=True, leaked_host_key=leaked_host_key)
    stored = settings.data_dir / KEY_FILE
    if settings.database_url is None and not settings.keys and stored.is_file():
        key = parse_key(str(stored), stored.read_text(), settings.denied_keys)
        settings = replace(settings, keys=(key,))
    return settings


def make_key(data_dir: Path) -> None:
    """A key of its own for a demo, mode 0600; one that is there stays."""
    path = data_dir / KEY_FILE
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32) + "\n")


@contextmanager
def databases(settings: Settings) -> Iterator[Databases]:
    """The database of DATABASE_URL, or the embedded server.

    An embedded one that was not running is brought up to date first and stopped again at the end.
    """
    if settings.database_url is not None:
        yield Databases(
            service=settings.database_url,
            worker=settings.worker_database_url or settings.database_url,
            migration=settings.migration_database_url,
        )
        return
    was_running = embedded.is_running(settings.data_dir)
    server = embedded.start(settings.data_dir)
    try:
        if not was_running:
            asyncio.run(prepare(server))
        yield Databases(
            service=Secret(server.service_dsn),
            worker=Secret(server.service_dsn),
            migration=Secret(server.owner_dsn),
            server=server,
        )
    finally:
        if not was_running:
            embedded.stop(settings.data_dir)


def require_migration_url(found: Databases) -> str:
    """The migrating role's DSN. Raises SettingsError where none is set."""
    if found.migration is None:
        raise SettingsError("MIGRATION_DATABASE_URL is not set: this command needs the role that owns the tables")
    return found.migration.reveal()
