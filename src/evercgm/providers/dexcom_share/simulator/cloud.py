"""The simulated Dexcom Share as one value: accounts with their curves and sessions, desk, ledger; no HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from starlette.requests import Request

from evercgm.providers.dexcom_share.simulator import faults
from evercgm.simulator_kit.desk import AtDesk, Desk
from evercgm.simulator_kit.faults import FaultKind
from evercgm.simulator_kit.ledger import Ledger
from evercgm.simulator_kit.trace import Trace, builtin_path, load_trace

T = TypeVar("T")

SCHEMA = """
create table if not exists sessions (id text primary key, username text not null, begun_at real not null);
create table if not exists tries (username text primary key, wrong integer not null, locked_until real not null);
"""
HOME_REGION = "us"
LOCK_AFTER, LOCK_FOR = 5, timedelta(minutes=10)
SESSION_LIFE = timedelta(hours=24)
# Share facts B1: two regions have the same.
APPLICATION_IDS = {
    "us": "d89443d2-327c-4a6f-89e5-496bbb0317db",
    "eu": "d89443d2-327c-4a6f-89e5-496bbb0317db",
    "jp": "d8665ade-9673-4e27-9ff6-92db4ce13d13",
}


@dataclass(frozen=True, slots=True)
class Account:
    """A publisher. `recording` is a shipped trace, or None where nothing was ever measured; `also`: other names."""

    username: str
    password: str
    label: str
    recording: str | None
    also: tuple[str, ...] = ()
    utc_offset_min: int = -480

    @property
    def id(self) -> str:
        """The same in every data directory."""
        return str(uuid5(NAMESPACE_URL, f"simulated-share:{self.username}"))


# The sandbox users of the official API, so that both ways show the same people. Passwords open nothing else.
ACCOUNTS = (
    Account(
        "User7", "evercgm-demo-7", "G7, mobile app", "hall2018_2133-018", ("user7@example.org", "+15550100007")
    ),
    Account("User6", "evercgm-demo-6", "G6, mobile app", "hall2018_2133-035", ("user6@example.org", "+15550100006")),
    Account("SandboxUser1", "evercgm-demo-1", "new, no readings yet", None),
)  # fmt: skip


class Locked(Exception):
    """Too many wrong passwords: none is taken now, the right one neither."""


@dataclass(slots=True)
class Cloud(AtDesk):
    """Everything a request needs."""

    ledger: Ledger
    accounts: dict[str, Account]
    traces: dict[str, Trace]
    desk: Desk

    def now(self) -> datetime:
        """By the cloud's clock."""
        return self.desk.clock()

    def named(self, name: str) -> Account | None:
        """Whose user name, e-mail or phone number this is."""
        return next((one for one in self.accounts.values() if name in (one.username, *one.also)), None)

    def with_id(self, account_id: str) -> Account | None:
        """Whose id this is."""
        return next((one for one in self.accounts.values() if one.id == account_id), None)

    def lets_in(self, account: Account | None, password: str) -> bool:
        """Whether the password is the account's, here; wrong ones are counted. Raises Locked after too many."""
        if account is None or self.value_of(faults.REGION, HOME_REGION) != HOME_REGION:
            return False
        wrong, locked_until = self._tries(account)
        if self.now() < locked_until:
            raise Locked
        if password == self.value_of(faults.PASSWORD_CHANGED, account.password, account.username):
            self._note(account, 0, locked_until)
            return True
        wrong += 1
        if wrong >= self.value_of(faults.LOCK_AFTER, LOCK_AFTER, account.username):
            minutes = self.value_of(faults.LOCK_MINUTES, LOCK_FOR / timedelta(minutes=1), account.username)
            wrong, locked_until = 0, self.now() + timedelta(minutes=minutes)
        self._note(account, wrong, locked_until)
        return False

    def new_session(self, account: Account) -> str:
        """A session that begins now."""
        session = str(uuid4())
        self.ledger.change("insert into sessions values (?, ?, ?)", (session, account.username, self.now().timestamp()))
        return session

    def owner_of(self, session: str) -> tuple[Account, bool] | None:
        """Whose session this is, and whether it still lives; None where there is none."""
        rows = self.ledger.rows("select username, begun_at from sessions where id = ?", (session,))
        account = self.accounts.get(str(rows[0][0])) if rows else None
        if account is None:
            return None
        life_s = self.value_of(faults.SESSION_LIFE_S, SESSION_LIFE / timedelta(seconds=1), account.username)
        return account, self.now().timestamp() < float(str(rows[0][1])) + life_s

    def end_session(self, session: str) -> None:
        """From now on it is not found."""
        self.ledger.change("delete from sessions where id = ?", (session,))

    def value_of(self, kind: FaultKind[T], usual: T, username: str | None = None) -> T:
        """What a switch that is not about single calls says; else `usual`."""
        found = self.desk.faults.take(kind, username=username)
        return usual if found is None else found

    def _tries(self, account: Account) -> tuple[int, datetime]:
        rows = self.ledger.rows("select wrong, locked_until from tries where username = ?", (account.username,))
        if not rows:
            return 0, datetime.fromtimestamp(0, UTC)
        return int(str(rows[0][0])), datetime.fromtimestamp(float(str(rows[0][1])), UTC)

    def _note(self, account: Account, wrong: int, locked_until: datetime) -> None:
        self.ledger.change(
            "insert into tries values (?, ?, ?) on conflict (username)"
            " do update set wrong = excluded.wrong, locked_until = excluded.locked_until",
            (account.username, wrong, locked_until.timestamp()),
        )


def is_uuid(text: str) -> bool:
    """Whether this is the text of a UUID."""
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def load_traces(accounts: Sequence[Account], override: Path | None, anchor: datetime) -> dict[str, Trace]:
    """The curve of each account; `override` is replayed by the first. Raises TraceError."""
    traces: dict[str, Trace] = {}
    for index, account in enumerate(accounts):
        if override is not None and index == 0:
            traces[account.username] = load_trace(override, anchor)
        elif account.recording is not None:
            traces[account.username] = load_trace(builtin_path(account.recording), anchor)
    return traces


def cloud_of(request: Request) -> Cloud:
    """The cloud that this request came to."""
    cloud = request.app.state.cloud
    assert isinstance(cloud, Cloud)  # noqa: S101 - narrows Starlette's untyped state
    return cloud
