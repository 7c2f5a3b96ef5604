"""Fields that several routes take or give, with their bounds."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, PlainSerializer, StringConstraints, WithJsonSchema

ID_PATTERN = r"^[!-~]{1,200}$"
FIRST_YEAR, LAST_YEAR = 1970, 2200

Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
PathId = Annotated[str, Path(pattern=ID_PATTERN)]
# Tokens in addresses: what is too long cannot be one of ours.
PathToken = Annotated[str, Path(pattern=r"^[\w-]{1,200}$")]


def rfc3339(instant: datetime) -> str:
    """UTC with ``Z``, whole seconds or milliseconds."""
    utc = instant.astimezone(UTC)
    precision = "milliseconds" if utc.microsecond // 1000 else "seconds"
    return utc.isoformat(timespec=precision).replace("+00:00", "Z")


def _as_text(value: object) -> object:
    if not isinstance(value, str) or "T" not in value.upper():
        raise ValueError("a time such as 2026-11-24T08:00:00Z is wanted")
    return value


def _in_range(instant: datetime) -> datetime:
    if not FIRST_YEAR <= instant.year <= LAST_YEAR:
        raise ValueError(f"a year from {FIRST_YEAR} to {LAST_YEAR} is wanted")
    return instant.astimezone(UTC)


# Given by callers: RFC 3339 with an offset. Told to callers: UTC with Z.
Asked = Annotated[AwareDatetime, BeforeValidator(_as_text), AfterValidator(_in_range)]
Told = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]

PersonQuery = Annotated[str | None, Query(pattern=ID_PATTERN)]
