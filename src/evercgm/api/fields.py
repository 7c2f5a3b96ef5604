"""Fields that several routes take or give, with their bounds."""

import re
from collections import Counter
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Query, Request
from fastapi.routing import APIRoute
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, PlainSerializer, StringConstraints, WithJsonSchema

from evercgm.core.errors import BadInput

ID_PATTERN = r"^[!-~]{1,200}$"
FIRST_YEAR, LAST_YEAR = 1970, 2200
# What a plus of an offset becomes in an address.
_BLANK_FOR_PLUS = re.compile(r"T[\d:.]+ \d\d:?\d\d$", re.IGNORECASE)

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
        raise ValueError("must be a time such as 2026-11-24T08:00:00Z")
    if _BLANK_FOR_PLUS.search(value):
        raise ValueError("has a blank before the offset: write + as %2B in an address, or use Z")
    return value


def _in_range(instant: datetime) -> datetime:
    if not FIRST_YEAR <= instant.year <= LAST_YEAR:
        raise ValueError(f"must lie in the years {FIRST_YEAR} to {LAST_YEAR}")
    return instant.astimezone(UTC)


# Given by callers: RFC 3339 with an offset. Told to callers: UTC with Z.
Asked = Annotated[AwareDatetime, BeforeValidator(_as_text), AfterValidator(_in_range)]
Told = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]

PersonQuery = Annotated[str | None, Query(pattern=ID_PATTERN)]


def only_known_query(request: Request) -> None:
    """For routes that read or delete: a misspelt parameter would be an answer to another question, as would one of two.

    Raises BadInput naming the parameter. Looks at what the route itself declares.
    """
    route = request.scope.get("route")
    if request.method not in ("GET", "HEAD", "DELETE") or not isinstance(route, APIRoute):
        return
    known = [field.alias for field in route.dependant.query_params]
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in known:
            taken = f"this address takes {', '.join(known)}" if known else "this address takes none"
            raise BadInput(name[:200], f"there is no such parameter: {taken}")
        if times > 1:
            raise BadInput(name, "is given more than once: send it once")
