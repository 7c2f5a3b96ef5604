"""The files of supabase/migrations, from the wheel or from the checkout that this package lies in."""

import re
from dataclasses import dataclass
from pathlib import Path

from evercgm.core.errors import EvercgmError

_FILE_NAME = re.compile(r"^([0-9]+)_(.*)\.sql$")


class MigrationError(EvercgmError):
    """A migration stopped and left nothing behind; the message names the file and the database's reason."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file; ``version`` are the digits that its name begins with (14 in ours)."""

    version: str
    name: str
    path: Path

    def text(self) -> str:
        """The file's SQL."""
        return self.path.read_text(encoding="utf-8")


def migrations() -> list[Migration]:
    """All migrations in order. Raises MigrationError where they are not installed."""
    shipped = Path(__file__).parents[1] / "migrations"
    folder = shipped if shipped.is_dir() else Path(__file__).parents[4] / "supabase" / "migrations"
    found = migrations_in(folder)
    if not found:
        raise MigrationError(f"no migrations found in {folder}")
    return found


def migrations_in(folder: Path) -> list[Migration]:
    """The files of a folder that the Supabase CLI would take: digits, an underscore, a name, ``.sql``."""
    matched = ((path, _FILE_NAME.match(path.name)) for path in sorted(folder.glob("*.sql")))
    return [Migration(match.group(1), match.group(2), path) for path, match in matched if match]
