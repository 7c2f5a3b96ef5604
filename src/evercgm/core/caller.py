"""Who is asking: the owner that a verified token or session names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Caller:
    """``owner_id`` is the verified ``sub`` (a UUID as text); ``claims`` is the whole verified payload.

    ``request_id``: the X-Request-Id of the call, for the record of deeds.
    """

    owner_id: str
    claims: Mapping[str, Any]
    request_id: str | None = None
