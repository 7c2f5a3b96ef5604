"""Who did what, as the record of deeds keeps it: no values, no tokens, no addresses."""

from dataclasses import dataclass
from typing import Literal

from evercgm.core.caller import Caller

Action = Literal[
    "connected",
    "reconnected",
    "account_changed",
    "refresh_failed",
    "access_ended",
    "paused",
    "resumed",
    "disconnected",
    "read_refused",
    "exported",
    "erased",
    "adopted",
    "rekeyed",
    "keys_rotated",
    "person_added",
    "sign_in_link_made",
]


@dataclass(frozen=True, slots=True)
class Actor:
    """``name``: ``owner:<id>``, ``service`` (a worker) or ``operator`` (a command); the request where there is one."""

    name: str
    request_id: str | None = None


SERVICE = Actor("service")
OPERATOR = Actor("operator")


def owner(caller: Caller) -> Actor:
    """The caller, through this very request."""
    return Actor(f"owner:{caller.owner_id}", caller.request_id)
