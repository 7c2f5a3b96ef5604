"""Who did what, as the record of deeds keeps it: no values, no tokens, no addresses."""

from dataclasses import dataclass
from typing import Literal

from evercgm.core.caller import Caller

Action = Literal[
    "connected",
    "reconnected",
    "account_changed",
    "sign_in_tried",
    "route_added",
    "route_removed",
    "refresh_failed",
    "access_ended",
    "paused",
    "resumed",
    "disconnected",
    "read_refused",
    "exported",
    "imported",
    "erased",
    "adopted",
    "rekeyed",
    "keys_rotated",
    "renewal_asked",
    "person_added",
    "sign_in_link_made",
    "quarantine_put_back",
    "quarantine_discarded",
]
By = Literal["you", "the service", "the operator", "another account"]
_SENTENCES: dict[str, str] = {
    "connected": "A vendor account was connected.",
    "reconnected": "The vendor account was connected again.",
    "account_changed": "Another vendor account was connected in place of the one before.",
    "sign_in_tried": "A user name and password were sent to the vendor to sign in. They are not in this record.",
    "route_added": "Another way to the vendor's readings was added to the connection.",
    "route_removed": "The other way to the vendor's readings was taken away and its stored access deleted.",
    "refresh_failed": "The access to the vendor could not be renewed. The service tries again by itself.",
    "access_ended": "The access to the vendor has ended. Readings come again after a new sign-in there.",
    "paused": "The connection was paused.",
    "resumed": "The connection was resumed.",
    "disconnected": "The connection was ended and its stored access deleted. The readings stay.",
    "read_refused": "Somebody asked for data of this person and was refused. Nothing was shown.",
    "exported": "Data of this person were exported.",
    "imported": "Readings were imported from a file.",
    "erased": "Data of this person were erased.",
    "adopted": "The connection was taken over from another app.",
    "rekeyed": "The stored access of the connection was sealed anew, under another key.",
    "keys_rotated": "The keys that seal the stored access were changed.",
    "renewal_asked": "All stored access was marked to be renewed at the vendors.",
    "person_added": "This person was added.",
    "sign_in_link_made": "A link was made to sign in at this account.",
    "quarantine_put_back": "A connection that was set aside was put back.",
    "quarantine_discarded": "A connection that was set aside was deleted. The readings stay.",
}


_OWNER = "owner:"


@dataclass(frozen=True, slots=True)
class Actor:
    """``name``: ``owner:<id>``, ``service`` (a worker) or ``operator`` (a command); the request where there is one."""

    name: str
    request_id: str | None = None

    @property
    def is_owner(self) -> bool:
        """Whether it is a person's owner, of their own will."""
        return self.name.startswith(_OWNER)


SERVICE = Actor("service")
OPERATOR = Actor("operator")


def owner(caller: Caller) -> Actor:
    """The caller, through this very request."""
    return owner_of(caller.owner_id, caller.request_id)


def owner_of(owner_id: str, request_id: str | None) -> Actor:
    """An owner who is known by other means than a call of theirs: a vendor's way back."""
    return Actor(_OWNER + owner_id, request_id)


def sentence(action: str) -> str:
    """What an action is to the person, in words; also of one that this version does not know."""
    return _SENTENCES.get(action, "Something was done that this version has no words for.")


def by(actor: str, owner_id: str) -> By:
    """Who it was, as ``owner_id`` may know it: other owners are never named."""
    match actor:
        case SERVICE.name:
            return "the service"
        case OPERATOR.name:
            return "the operator"
    return "you" if actor == owner_of(owner_id, None).name else "another account"
