"""The record that every way in fills: its facts, how a person signs in there, and the functions that a sync calls."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import httpx2

from evercgm.core import ladder
from evercgm.core.connection import CADENCE
from evercgm.core.ladder import Reread
from evercgm.core.limits import CallLimits
from evercgm.core.reading import Batch
from evercgm.core.sync import Window
from evercgm.core.tokens import NO_SECRET, Secret, Tokens


@dataclass(frozen=True, slots=True)
class Region:
    """One of a vendor's clouds; an account lives in one. ``delay``: usual age of its newest reading."""

    title: str
    base_url: str
    delay: timedelta


@dataclass(frozen=True, slots=True)
class VendorApp:
    """Our registration at one vendor in one region; ``base_url`` without a slash at the end.

    ``version``: of the vendor's own app, as which an unofficial way in presents itself; it has no registration.
    """

    region: str
    base_url: str
    client_id: str = ""
    client_secret: Secret = NO_SECRET
    redirect_uri: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Login:
    """What goes into the vendor's consent address: a one-time state and a PKCE challenge (S256)."""

    state: str
    code_challenge: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and password, used for one sign-in. ``keep``: the person lets us keep them for the next ones."""

    username: Secret
    password: Secret
    keep: bool


@dataclass(frozen=True, slots=True)
class Pasted:
    """What a person pastes back from the vendor's page: the address it ended at, or another tool's bundle of tokens.

    ``state`` and ``verifier`` belong to the address that ``Paste.begin`` gave; both are empty for a bundle.
    """

    text: Secret
    state: Secret
    verifier: Secret


@dataclass(frozen=True, slots=True)
class Survey:
    """What a vendor says it holds: the account's id, first and last reading (aware UTC), the device."""

    account_id: str | None
    first: datetime | None
    last: datetime | None
    device_id: str | None


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
class Consent:
    """Sign-in on the vendor's consent page, which sends the browser back to our callback.

    begin: the address of that page. finish: its code and our PKCE verifier into tokens.
    """

    begin: Callable[[VendorApp, Login], str]
    finish: Callable[[httpx2.AsyncClient, VendorApp, Secret, Secret], Awaitable[Tokens]]


Choose = Callable[[Tokens, str], Tokens]


def nobody_to_choose(tokens: Tokens, _who: str) -> Tokens:
    """Where an account is one person's."""
    return tokens


@dataclass(frozen=True, slots=True)
class Password:
    """Sign-in by user name and password, sent to the vendor once.

    sign_in: raises ReconnectNeeded(reason) for what only the person can mend, and is then not tried again;
    ChooseFirst where the account follows several; VendorTryLater, VendorRateLimited, VendorChanged, OperatorMustAct.
    Where they may be kept they are the refresh token; else that is empty. choose: tokens that are good for several
    people, made those of one by their id; pure.
    """

    sign_in: Callable[[httpx2.AsyncClient, VendorApp, Credentials], Awaitable[Tokens]]
    choose: Choose = nobody_to_choose


# The field that a way in names where it cannot take what was pasted; the door that took it knows its own name of it.
PASTED = "pasted"


@dataclass(frozen=True, slots=True)
class Paste:
    """Sign-in on the vendor's page in the person's own browser, from where something is pasted back.

    begin: the address of that page. state_of: which sign-in a text ends; None for what no page of the vendor can have
    ended at, which uses none up. finish: what was pasted, which works once, into tokens; raises BadInput(pasted) for a
    text of another form, GrantRefused, VendorError. These are stored before they are used. settle: such tokens, made
    those of the account that they are found to belong to; raises what ``Password.sign_in`` raises, and may be asked
    again. choose: as in ``Password``.
    """

    begin: Callable[[httpx2.AsyncClient, VendorApp, Login], Awaitable[str]]
    finish: Callable[[httpx2.AsyncClient, VendorApp, Pasted], Awaitable[Tokens]]
    settle: Callable[[httpx2.AsyncClient, VendorApp, Tokens], Awaitable[Tokens]]
    state_of: Callable[[Secret], str | None]
    choose: Choose = nobody_to_choose


def in_no_token(_tokens: Tokens) -> str | None:
    """Where only the vendor can tell whose account it is."""
    return None


def only_itself(base_url: str) -> tuple[str, ...]:
    """Where a way in calls one host a region."""
    return (base_url,)


@dataclass(frozen=True, slots=True)
class Provider:
    """One way in. ``route`` is its folder's name, ``provider`` the value of the enum it belongs to.

    login: how a person signs in. refresh: a refresh token into new tokens. survey: what is there, and whose account
    it is. read: one window of readings. What the tokens are is the way's own matter: nobody else looks into them.
    rereads: what of the past is read again and how often, for what comes late; the first rung at each sync.
    terms: for a way in that is not official, what the vendor says about such use, in a sentence for the person.
    account_of: whose account tokens are of, by the id that ``survey`` and ``read`` give too, where they hold it: it is
    known then though the vendor does not answer; pure.
    hosts: the base URLs that its calls may go to, from that of the region.
    consent_lasts: how long after the person's yes the vendor may end it; None where that is not known.
    cadence: the time from one reading to the next; cadences: another one, by what a device's id begins with.
    keeps: how far back the vendor gives readings; None: all there are.
    live: how soon after it was measured a reading is there, at a vendor that is near real time; polls wait for it.
    calls: how often our app may call each region; None where no limit is known.
    news: how it tells what came since a moment; None where it cannot.
    shows_all: whether an answer holds all that there is of its window, so that what it lacks is noted as absent.
    keep_alive: how often the refresh token must be used even while the connection rests; None: it waits.
    revoke: has the vendor end the login of a refresh token; raises VendorError where it did not. None: there is no way.
    slot: where the vendor has a history and a live series, a value of history stands for live ones as near as this.
    by_device_clock: whether its times are the wall clock of a device that people set, and UTC is reckoned from it: what
    was stored before a change of that clock may come again at another instant, and is not stored there once more.
    """

    route: str
    provider: str
    title: str
    official: bool
    regions: Mapping[str, Region]
    longest_window: timedelta
    rereads: tuple[Reread, ...]
    poll_every: timedelta
    login: Consent | Password | Paste
    refresh: Refresh
    survey: Look
    read: Read
    terms: str | None = None
    account_of: Callable[[Tokens], str | None] = in_no_token
    hosts: Callable[[str], tuple[str, ...]] = only_itself
    consent_lasts: timedelta | None = None
    keep_alive: timedelta | None = None
    revoke: Callable[[httpx2.AsyncClient, VendorApp, Secret], Awaitable[None]] | None = None
    cadence: timedelta = CADENCE
    cadences: Mapping[str, timedelta] = field(default_factory=dict)
    keeps: timedelta | None = None
    live: timedelta | None = None
    news: News | None = None
    calls: CallLimits | None = None
    shows_all: bool = True
    slot: timedelta | None = None
    by_device_clock: bool = False

    @property
    def is_side_route(self) -> bool:
        """Whether it is another way to what a provider gives by its own."""
        return self.route != self.provider

    def cadence_of(self, device_id: str | None) -> timedelta:
        """From one reading of this device to the next; None: it is not known, and counts as the usual one."""
        return next((one for begin, one in self.cadences.items() if (device_id or "").startswith(begin)), self.cadence)

    def __post_init__(self) -> None:
        """Raises ValueError where the rereads are no ladder."""
        ladder.check(self.rereads)
