"""The named environments of an app: a small TOML file that says where each database is, and never how to get in.

    host_migrations = "../app/supabase/migrations"

    [environments.staging]
    database = "STAGING_DATABASE_URL"

    [environments.old-development]
    decommissioned = "2025-10-14: consolidated into staging"

``database`` is the name of an environment variable. An address or a password in the file is refused.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evercgm.core.errors import SettingsError
from evercgm.core.tokens import Secret

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_ADDRESS = re.compile(r"://|\b(?:password|host|hostaddr|user|dbname|passfile)\s*=", re.IGNORECASE)
_NO_FILE = re.compile(r":/|@|=")
_BY_VARIABLE = 'name an environment variable here (database = "STAGING_DATABASE_URL"): addresses and passwords stay out'


@dataclass(frozen=True, slots=True)
class Environment:
    """One database by name. Exactly one of ``variable`` (which holds its DSN) and ``decommissioned`` (why) is set."""

    name: str
    variable: str | None = None
    decommissioned: str | None = None


@dataclass(frozen=True, slots=True)
class Environments:
    """The file's content. ``host_migrations``: the host app's own supabase/migrations."""

    file: Path
    named: tuple[Environment, ...]
    host_migrations: Path | None = None


def read_environments(file: Path) -> Environments:
    """The environments of a file. Raises SettingsError naming file and key; a value is never repeated."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as failure:
        raise SettingsError(f"{_shown(file)}: cannot be read ({failure.strerror})") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{file}: is no text in UTF-8") from None
    except tomllib.TOMLDecodeError as failure:
        # Its message may hold a piece of the text; the place is enough.
        place = re.search(r"\(at [^)]*\)$", str(failure))
        raise SettingsError(f"{file}: is no TOML {place.group() if place else ''}".rstrip()) from None
    _refuse_addresses(file, content)
    return _parsed(file, content)


def find_environment(environments: Environments, name: str) -> Environment:
    """The environment of that name that may be used. Raises SettingsError: unknown, or decommissioned."""
    for one in environments.named:
        if one.name == name:
            if one.decommissioned is not None:
                raise SettingsError(
                    f"environment {name} is decommissioned ({one.decommissioned}): nothing is done there"
                )
            return one
    known = ", ".join(one.name for one in environments.named) or "none"
    shown = name if _NAME.fullmatch(name) else "of this name (letters, digits, '-' and '_' only)"
    raise SettingsError(f"{_shown(environments.file)} names no environment {shown}; it names: {known}")


def variable_of(environment: Environment) -> str:
    """Which environment variable holds its DSN. Raises SettingsError where it is decommissioned."""
    if environment.variable is None:
        raise SettingsError(f"environment {environment.name} is decommissioned: it has no database")
    return environment.variable


def dsn_of_variable(variable: str, env: Mapping[str, str]) -> Secret:
    """The DSN in an environment variable. Raises SettingsError where it is not set."""
    if not _VARIABLE.fullmatch(variable):
        raise SettingsError("this is no name of an environment variable: A to Z, digits and '_' only")
    if not env.get(variable):
        raise SettingsError(f"{variable} is not set: it holds the address of this database")
    return Secret(env[variable])


def _shown(file: Path) -> str:
    """A file's name for a message; one that looks like an address is none, and is not repeated."""
    return "the file of environments" if _NO_FILE.search(str(file)) else str(file)


def _refuse_addresses(file: Path, content: Mapping[str, Any], path: str = "") -> None:
    for key, value in content.items():
        here = _at(path, key)
        if isinstance(value, dict):
            _refuse_addresses(file, value, here)
        elif isinstance(value, str) and _ADDRESS.search(value):
            raise SettingsError(f"{file}: {here} holds a database address: {_BY_VARIABLE}")


def _parsed(file: Path, content: Mapping[str, Any]) -> Environments:
    _refuse_others(file, content, "", ("environments", "host_migrations"))
    tables = content.get("environments", {})
    if not isinstance(tables, dict) or not tables:
        raise SettingsError(f"{file}: names no environment; expected [environments.staging] and so on")
    folder = _text(file, content, "", "host_migrations")
    return Environments(
        file,
        tuple(_environment(file, name, table) for name, table in tables.items()),
        None if folder is None else _folder(file, folder),
    )


def _environment(file: Path, name: str, table: Any) -> Environment:
    here = f"environments.{name}"
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{file}: the name of an environment has letters, digits, '-' and '_' only")
    if not isinstance(table, dict):
        raise SettingsError(f'{file}: {here} must be a table: [{here}] and below it database = "VARIABLE"')
    _refuse_others(file, table, here, ("database", "decommissioned"))
    variable = _text(file, table, here, "database")
    reason = _text(file, table, here, "decommissioned")
    if variable is not None and not _VARIABLE.fullmatch(variable):
        raise SettingsError(f"{file}: {here}.database is no name of an environment variable: {_BY_VARIABLE}")
    if (variable is None) == (reason is None):
        raise SettingsError(f"{file}: {here} needs either database or decommissioned, one of the two")
    return Environment(name, variable, reason)


def _text(file: Path, table: Mapping[str, Any], path: str, key: str) -> str | None:
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise SettingsError(f"{file}: {_at(path, key)} must be one line of text")
    return value.strip()


def _folder(file: Path, text: str) -> Path:
    folder = file.parent / Path(text).expanduser()
    if not folder.is_dir():
        raise SettingsError(f"{file}: host_migrations is no folder here")
    return folder


def _refuse_others(file: Path, table: Mapping[str, Any], path: str, known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise SettingsError(f"{file}: {_at(path, key)} is not known here; known: {', '.join(known)}")


def _at(path: str, key: str) -> str:
    """A key's place for a message; one that is no plain name may hold anything, and is not repeated."""
    shown = key if _NAME.fullmatch(key) else "(a key)"
    return f"{path}.{shown}" if path else shown
