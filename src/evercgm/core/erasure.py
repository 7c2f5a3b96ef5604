"""What erasing a person means in counts, and the list of the erased as text, for a replay after a restore."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from evercgm.core.errors import BadInput

FORM = '{"person_id": "…", "erased_at": "2026-11-24T08:00:00Z", "all_readings_at": null}'


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one person that the service wrote or adopted. ``readings``: by source."""

    readings: Mapping[str, int] = field(default_factory=dict)
    connections: int = 0
    syncs: int = 0
    routes: int = 0
    unreadable_records: int = 0
    set_aside: int = 0
    sign_ins: int = 0
    jobs: int = 0
    settings: int = 0


@dataclass(frozen=True, slots=True)
class HostRows:
    """Rows of one person that are the host app's own; ``readings``: by source."""

    readings: Mapping[str, int] = field(default_factory=dict)
    connections: int = 0


@dataclass(frozen=True, slots=True)
class Erasure:
    """A person was erased; ``all_readings_at``: when it was last with the host app's own readings too. Aware UTC."""

    person_id: str
    erased_at: datetime
    all_readings_at: datetime | None = None

    def as_json(self) -> str:
        """The line that ``parse`` reads."""
        at = None if self.all_readings_at is None else self.all_readings_at.isoformat()
        fields = {"person_id": self.person_id, "erased_at": self.erased_at.isoformat(), "all_readings_at": at}
        return json.dumps(fields)

    def as_text(self) -> str:
        """The same for people; ``parse`` reads it, too."""
        times = [at.isoformat() for at in (self.erased_at, self.all_readings_at) if at is not None]
        return "\t".join([self.person_id, *times])


def parse(field_name: str, lines: Iterable[str], now: datetime) -> list[Erasure]:
    """A list as ``as_json`` or ``as_text`` gives it, blank lines left out.

    Raises BadInput(field_name) naming the first line that is none of these, or that lies after ``now``.
    """
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        erasure = _read(line.rstrip("\r\n"))
        if erasure is None:
            raise BadInput(field_name, f"line {number} is no line of `evercgm erase --list`, such as {FORM}")
        if max(erasure.erased_at, erasure.all_readings_at or erasure.erased_at) > now:
            raise BadInput(field_name, f"line {number} names a time that is still to come")
        found.append(erasure)
    return found


def _read(line: str) -> Erasure | None:
    fields = _json_fields(line) if line.lstrip().startswith("{") else line.split("\t")
    if len(fields) not in (2, 3) or not isinstance(fields[0], str) or not fields[0] or "\0" in fields[0]:
        return None
    erased_at = _instant(fields[1])
    all_readings_at = _instant(fields[2]) if len(fields) == 3 else None
    if erased_at is None or (len(fields) == 3 and all_readings_at is None):
        return None
    return Erasure(fields[0], erased_at, all_readings_at)


def _json_fields(line: str) -> list[object]:
    """Its fields without a null at the end; nothing where it is another object."""
    try:
        said = json.loads(line)
    except ValueError:
        return []
    if not isinstance(said, dict) or set(said) - {"all_readings_at"} != {"person_id", "erased_at"}:
        return []
    at = said.get("all_readings_at")
    return [said["person_id"], said["erased_at"], *([] if at is None else [at])]


def _instant(text: object) -> datetime | None:
    """Aware UTC, from a text with a zone."""
    try:
        instant = datetime.fromisoformat(text) if isinstance(text, str) else None
        return instant.astimezone(UTC) if instant is not None and instant.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
