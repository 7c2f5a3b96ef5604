"""Which database a ``db`` command works on, found by name; its address is never an argument."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer

from evercgm.cli.surroundings import databases, find_settings, require_migration_url
from evercgm.core.errors import SettingsError
from evercgm.core.tokens import Secret
from evercgm.settings import Settings
from evercgm.storage import embedded
from evercgm.storage.schema.environments import dsn_of_variable, find_environment, read_environments, variable_of
from evercgm.storage.schema.migrate import SETTING

EnvironmentName = Annotated[
    str | None,
    typer.Option(
        "--environment", metavar="NAME", help="A database by its name in evercgm.toml (EVERCGM_ENVIRONMENTS)."
    ),
]


@dataclass(frozen=True, slots=True)
class Target:
    """A database, and the setting or variable that names it (for messages: the address itself is never shown)."""

    dsn: Secret
    setting: str


def option_of(environment: str | None) -> str:
    """How another command is pointed at the same database."""
    return "" if environment is None else f" --environment {environment}"


@contextmanager
def migration_target(environment: str | None = None) -> Iterator[Target]:
    """The database to change: of a named environment, of MIGRATION_DATABASE_URL, else the embedded one.

    An embedded server that was not running is started for it. Raises SettingsError: none is set, an unknown or
    decommissioned environment.
    """
    settings = find_settings()
    if environment is not None:
        yield named_target(settings, environment)
    elif settings.migration_database_url is not None:
        yield Target(settings.migration_database_url, SETTING)
    else:
        with databases(settings) as found:
            yield Target(Secret(require_migration_url(found)), SETTING)


@contextmanager
def reading_target(environment: str | None = None) -> Iterator[Target]:
    """The database to look at: as ``migration_target``, else DATABASE_URL; nothing is started or made for it."""
    settings = find_settings()
    if environment is not None:
        yield named_target(settings, environment)
    elif settings.migration_database_url is not None:
        yield Target(settings.migration_database_url, SETTING)
    elif settings.database_url is not None:
        yield Target(settings.database_url, "DATABASE_URL")
    elif not embedded.is_running(settings.data_dir):
        raise SettingsError(
            "MIGRATION_DATABASE_URL and DATABASE_URL are not set, and no PostgreSQL of our own runs here "
            "(evercgm serve, or evercgm demo, starts one)"
        )
    else:
        with databases(settings) as found:
            yield Target(Secret(require_migration_url(found)), "the embedded PostgreSQL")


def named_target(settings: Settings, environment: str) -> Target:
    """The database of a named environment. Raises SettingsError: unknown, decommissioned, its variable is not set."""
    named = find_environment(read_environments(settings.environments), environment)
    variable = variable_of(named)
    return Target(dsn_of_variable(variable, os.environ), variable)
