"""What a command finds around it: settings, the database it should use, the key of the data directory."""

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

KEY_FILE = "encryption.key"


@dataclass(frozen=True, slots=True)
class Databases:
    """DSNs of the service's role, of the worker's direct connection, and of the migrating role if there is one."""

    service: Secret
    worker: Secret
    migration: Secret | None
    server: embedded.Embedded | None = None


def find_settings(env: Mapping[str, str] | None = None, *, simulators: bool = False) -> Settings:
    """The settings, with the key of the data directory where none is set."""
    settings = read_settings(os.environ if env is None else env, simulators=simulators)
    stored = settings.data_dir / KEY_FILE
    if not settings.keys and stored.is_file():
        settings = replace(settings, keys=(parse_key(str(stored), stored.read_text()),))
    return settings


def make_key(data_dir: Path) -> None:
    """A key of its own for a demo, mode 0600; one that is there stays."""
    path = data_dir / KEY_FILE
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32) + "\n")


@contextmanager
def databases(settings: Settings) -> Iterator[Databases]:
    """The database of DATABASE_URL, or the embedded server; it is stopped again if it was not running."""
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
