"""The record that every way in fills: its facts, and five functions; a sixth where the vendor can tell what is new."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx2

from evercgm.core import ladder
from evercgm.core.connection import CADENCE
from evercgm.core.ladder import Reread
from evercgm.core.limits import CallLimits
from evercgm.core.reading import Batch
from evercgm.core.sync import Window
from evercgm.core.tokens import Secret, Tokens


@dataclass(frozen=True, slots=True)
class Region:
    """One of a vendor's clouds; an account lives in one. ``delay``: usual age of its newest reading."""

    title: str
    base_url: str
    delay: timedelta


@dataclass(frozen=True, slots=True)
class VendorApp:
    """Our registration at one vendor in one region; ``base_url`` without a slash at the end."""

    region: str
    base_url: str
    client_id: str
    client_secret: Secret
    redirect_uri: str


@dataclass(frozen=True, slots=True)
class Login:
    """What goes into the vendor's consent address: a one-time state and a PKCE challenge (S256)."""

    state: str
    code_challenge: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What a vendor says it holds: the account's id, first and last reading (aware UTC), the device."""

    account_id: str | None
    first: datetime | None
    last: datetime | None
    device_id: str | None


Begin = Callable[[VendorApp, Login], str]
Finish = Callable[[httpx2.AsyncClient, VendorApp, Secret, Secret], Awaitable[Tokens]]
Refresh = Callable[[httpx2.AsyncClient, VendorApp, Secret], Awaitable[Tokens]]
Look = Callable[[httpx2.AsyncClient, VendorApp, Secret], Awaitable[Survey]]
Read = Callable[[httpx2.AsyncClient, VendorApp, Secret, Window], Awaitable[Batch]]
AskNews = Callable[[httpx2.AsyncClient, VendorApp, Secret, datetime], Awaitable[datetime | None]]


@dataclass(frozen=True, slots=True)
class News:
    """How a vendor tells when the first of what came since a moment was measured; None: nothing, or it cannot tell.

    A hint: a scan may reach deeper because of it, and nothing is left unread because of it. ``reach``: the answer is
    not sound where the moment is as long ago as this.
    """

    ask: AskNews
    reach: timedelta


@dataclass(frozen=True, slots=True)
class Provider:
    """One way in. ``route`` is its folder's name, ``provider`` the value of the enum it belongs to.

    begin: the address of the vendor's consent page. finish: code and PKCE verifier into tokens.
    refresh: a refresh token into new tokens. survey: what is there. read: one window of readings.
    rereads: what of the past is read again and how often, for what comes late; the first rung at each sync.
    consent_lasts: how long after the person's yes the vendor may end it; None where that is not known.
    cadence: the time from one reading to the next. keeps: how far back the vendor gives them; None: all there are.
    live: how soon after it was measured a reading is there, at a vendor that is near real time; polls wait for it.
    calls: how often our app may call each region; None where no limit is known.
    news: how it tells what came since a moment; None where it cannot.
    """

    route: str
    provider: str
    title: str
    official: bool
    regions: Mapping[str, Region]
    longest_window: timedelta
    rereads: tuple[Reread, ...]
    poll_every: timedelta
    begin: Begin
    finish: Finish
    refresh: Refresh
    survey: Look
    read: Read
    consent_lasts: timedelta | None = None
    cadence: timedelta = CADENCE
    keeps: timedelta | None = None
    live: timedelta | None = None
    news: News | None = None
    calls: CallLimits | None = None

    def __post_init__(self) -> None:
        """Raises ValueError where the rereads are no ladder."""
        ladder.check(self.rereads)
