"""What the two tokens of a connection hold: CareLink's own, with whose readings are read and where. Stores nothing."""

from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from evercgm.core.errors import ReconnectNeeded
from evercgm.core.tokens import Secret

T = TypeVar("T")


class View(msgspec.Struct, frozen=True):
    """An account that reads one patient's values. ``username``: as the server calls it, which is no e-mail address."""

    username: str
    role: str
    patient: str
    care_url: str
    data_url: str


class Access(msgspec.Struct, frozen=True):
    """``issued_at``: aware UTC, by our clock."""

    token: Secret
    issued_at: datetime
    view: View


class Refresh(msgspec.Struct, frozen=True):
    """A refresh token belongs to the client it was given to."""

    token: Secret
    client_id: str
    token_url: str
    view: View


class Grant(msgspec.Struct, frozen=True):
    """What a token endpoint gave; ``refresh`` None: the old one stays good. ``expires_at`` aware UTC."""

    access: Secret
    refresh: Secret | None
    issued_at: datetime
    lifetime_s: int

    @property
    def expires_at(self) -> datetime:
        return self.issued_at + timedelta(seconds=self.lifetime_s)


def sealed(kept: Access | Refresh) -> Secret:
    """As a text to be stored."""
    return Secret(msgspec.json.encode(kept, enc_hook=_reveal).decode())


def opened(text: Secret, kind: type[T]) -> T:
    """What was stored. Raises ReconnectNeeded for a text that is none of ours."""
    try:
        return msgspec.json.decode(text.reveal(), type=kind, dec_hook=_hide)
    except msgspec.MsgspecError:
        # The decoder's message may quote what it read.
        raise ReconnectNeeded from None


def _reveal(value: object) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    raise TypeError(f"{type(value).__name__} is not kept")


def _hide(kind: type, value: object) -> object:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise TypeError(f"{kind.__name__} is not kept")
