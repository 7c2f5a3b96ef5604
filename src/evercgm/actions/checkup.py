"""What is wrong with this installation, and the command that mends it. Looks only; changes nothing."""

import asyncio
import ssl
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import urlsplit

from evercgm.actions.alarm import APP_VERSION, NOT_SET_UP, REASON, floor_in, setting_of
from evercgm.core.connection import CONSENT_WARNING
from evercgm.core.errors import SettingsError
from evercgm.core.limits import Place
from evercgm.provider_kit.contract import Provider, VendorApp
from evercgm.providers import PROVIDERS
from evercgm.settings import APP_VERSIONS, Settings, require_key
from evercgm.storage import checkup
from evercgm.storage.checkup import Group, Look, LookFailed
from evercgm.storage.database import Database
from evercgm.storage.schema.rights import refuse_too_much
from evercgm.storage.vault import key_id

Verdict = Literal["ok", "warn", "fail", "unknown"]
REACH_WITHIN_S = 3.0
CLOCK_WARN = timedelta(seconds=5)
CLOCK_FAIL = timedelta(seconds=60)
RESTING = ("expired", "disconnected")
NO_PAUSES: Mapping[Place, str] = {}


@dataclass(frozen=True, slots=True)
class Check:
    """One line: what was looked at, how it is, what was found, and the command or step that mends it."""

    id: str
    status: Verdict
    found: str
    mend: str | None = None


def check_keys(settings: Settings) -> Check:
    """Whether there is a ring to seal and open with (its form was checked when the settings were read)."""
    try:
        ring = require_key(settings)
    except SettingsError as failure:
        return Check("keys", "fail", str(failure), "export ENCRYPTION_KEY=$(openssl rand -hex 32), and keep it safe")
    names = ", ".join(key_id(key) for key in ring)
    return Check("keys", "ok", f"{len(ring)} in the ring, new tokens are sealed with the first: {names}")


async def check_database(dsn: str) -> Check:
    """Whether the database answers and our role has its rights and no more."""
    try:
        await refuse_too_much(dsn)
    except SettingsError as failure:
        text = str(failure)
        return Check("database", "fail", text, _mend_database(text))
    return Check("database", "ok", "it answers, and the role has no more rights than it needs")


def _mend_database(text: str) -> str:
    if "not migrated" in text:
        return "evercgm db migrate"
    if "login-role" in text:
        return 'evercgm db login-role | psql "$MIGRATION_DATABASE_URL", then use that role in DATABASE_URL'
    return "check the address in DATABASE_URL and that PostgreSQL runs: psql \"$DATABASE_URL\" -c 'select 1'"


async def check_inside(db: Database, settings: Settings, set_up: Collection[Place]) -> list[Check]:
    """What only the database knows: migrations, clock, keys in use, connections at the places that are ``set_up``."""
    asked_at = datetime.now(UTC)
    try:
        seen = await checkup.look(db)
    except LookFailed as failure:
        mend = 'evercgm db migrate, then: evercgm db login-role | psql "$MIGRATION_DATABASE_URL"'
        return [Check("migrations", "fail", f"the database refuses to be read by the service ({failure})", mend)]
    return [
        check_migrations(seen.pending),
        check_clock(asked_at, seen.now, datetime.now(UTC)),
        check_sealed(seen, [key_id(key) for key in settings.keys]),
        *check_connections(seen.groups, set_up, seen.pauses),
        *await check_consents(db, PROVIDERS.values()),
    ]


def check_migrations(pending: Sequence[str] | None) -> Check:
    """Whether all our migrations are recorded."""
    if pending is None:
        return Check("migrations", "unknown", "the history may not be read by the service", "evercgm db migrate")
    if pending:
        return Check("migrations", "fail", f"{len(pending)} are missing: {', '.join(pending)}", "evercgm db migrate")
    return Check("migrations", "ok", "all are applied")


def check_clock(before: datetime, database: datetime, after: datetime) -> Check:
    """Our clock against the database's, which was read between ``before`` and ``after`` (aware UTC)."""
    apart = max(before - database, database - after, timedelta(0))
    mend = "timedatectl set-ntp true, here and on the database's machine"
    text = f"{apart.total_seconds():.1f} s apart from the database's"
    if apart >= CLOCK_FAIL:
        return Check("clock", "fail", text, mend)
    return Check("clock", "warn", text, mend) if apart >= CLOCK_WARN else Check("clock", "ok", text)


def check_sealed(seen: Look, ring: Sequence[str]) -> Check:
    """Whether every sealed value names a key that we have."""
    lost = {name or "no key id": count for name, count in seen.sealed.items() if name not in ring}
    if not lost:
        return Check("sealed", "ok", f"{sum(seen.sealed.values())} sealed values, a key for each")
    texts = ", ".join(f"{count} with {name}" for name, count in lost.items())
    mend = "add the key of that id to ENCRYPTION_KEYS_PREVIOUS and restart; without it these people must reconnect"
    return Check("sealed", "fail", f"values that no key of the ring opens: {texts}", mend)


def check_connections(
    groups: Sequence[Group], set_up: Collection[Place], pauses: Mapping[Place, str] = NO_PAUSES
) -> list[Check]:
    """One line a provider and region; worse where all of a region wait for the operator.

    ``set_up``: where we are registered, or offered. ``pauses``: for what each place is paused.
    """
    places = sorted({(group.provider, group.region or "") for group in groups if group.ours})
    checks = [
        _check_region(
            place,
            [group for group in groups if _place(group) == place],
            NOT_SET_UP if place not in set_up else pauses.get(place, ""),
        )
        for place in places
    ]
    foreign = sum(group.count for group in groups if not group.ours)
    if foreign:
        text = f"{foreign} belong to the host app: they are neither synced nor altered"
        checks.append(Check("connections/host app", "ok", text, "to take them over: evercgm adopt --dry-run"))
    return checks or [Check("connections", "ok", "there are none yet")]


async def check_consents(db: Database, providers: Iterable[Provider]) -> list[Check]:
    """A line for each region in which people must soon consent anew; they are told at their connection."""
    checks = []
    for provider in providers:
        if provider.consent_lasts is None:
            continue
        days = CONSENT_WARNING.days
        found = await checkup.old_consents(db, provider.provider, provider.consent_lasts - CONSENT_WARNING)
        for region, count in found.items():
            text = f"{count} must consent anew within {days} days, or should have: the page and the API tell them"
            mend = "ask these people to press Reconnect (GET /connections: reason consent_ends_soon)"
            checks.append(Check(f"consents/{provider.provider}/{region}", "warn", text, mend))
    return checks


def _place(group: Group) -> Place | None:
    return (group.provider, group.region or "") if group.ours else None


def _check_region(place: Place, groups: Sequence[Group], cause: str) -> Check:
    """``cause``: that it is not set up, or for what it is paused."""
    name = f"connections/{'/'.join(place)}"
    waiting = sum(group.count for group in groups if group.reason == REASON)
    awake = sum(group.count for group in groups if group.status not in RESTING)
    text = ", ".join(
        f"{group.count} {group.status}" + (f" ({group.reason})" if group.reason else "") for group in groups
    )
    if waiting:
        return _waiting_for_operator(place, f"{waiting} of {awake}: {text}", cause)
    broken = sum(group.count for group in groups if group.reason == "seal_broken")
    if broken:
        return Check(name, "fail", text, "the line 'sealed' says which key is missing")
    failing = any(group.status == "error" for group in groups)
    return Check(name, "warn" if failing else "ok", text, "the log says more: sync_failing" if failing else None)


def _waiting_for_operator(place: Place, text: str, cause: str) -> Check:
    name, setting = f"connections/{'/'.join(place)}", setting_of(*place)
    if cause == NOT_SET_UP:
        its = "its client id" if place[0] == "dexcom" else f"{place[0]} in it"
        return Check(name, "fail", f"the region is not set up here, {text}", f"set {setting} and {its}")
    if place[0] != "dexcom":
        return _refused_without_credentials(name, place[0], text, cause)
    mend = f"set {setting} to the secret that the vendor's developer page shows now, and restart serve and work"
    return Check(name, "fail", f"the vendor refuses our client secret ({setting}) for {text}", mend)


def _refused_without_credentials(name: str, route: str, text: str, cause: str) -> Check:
    """Where there is no secret of ours, the version that we name is what a vendor refuses, or all that we are."""
    floor, restart = floor_in(cause), "and restart serve and work"
    if floor is not None:
        found = f"the vendor takes version {floor} and later of its app, for {text}"
        return Check(name, "fail", found, f"set {APP_VERSIONS}={route}={floor} {restart}")
    if cause == APP_VERSION:
        found = f"the vendor takes the version of its app that we name no longer, for {text}"
        return Check(name, "fail", found, f"set {APP_VERSIONS}={route}=… to the one of its app today, {restart}")
    mend = (
        f"the log says which: operator_alarm, cure; app_version: set {APP_VERSIONS}={route}=…; release: update evercgm"
    )
    return Check(name, "fail", f"the vendor refuses our version, our address or this release, for {text}", mend)


async def check_hosts(apps: Mapping[tuple[str, str], VendorApp]) -> list[Check]:
    """Whether each vendor host of a region that is set up takes a connection within 3 s."""
    if not apps:
        mend = "set DEXCOM_CLIENT_ID and DEXCOM_CLIENT_SECRET (DEXCOM_EU_…, DEXCOM_JP_… for other regions)"
        return [Check("vendors", "warn", "no region of a vendor is set up: nobody can connect", mend)]
    return list(await asyncio.gather(*(_check_host(place, app) for place, app in sorted(apps.items(), key=_by_place))))


def _by_place(item: tuple[tuple[str, str], VendorApp]) -> tuple[str, str]:
    return item[0]


async def _check_host(place: tuple[str, str], app: VendorApp) -> Check:
    name = f"vendor/{'/'.join(place)}"
    parts = urlsplit(app.base_url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    try:
        async with asyncio.timeout(REACH_WITHIN_S):
            _, writer = await asyncio.open_connection(host, port, ssl=ssl.create_default_context() if secure else None)
    except (OSError, TimeoutError) as failure:
        text = f"{host}:{port} cannot be reached ({type(failure).__name__})"
        return Check(name, "fail", text, f"check name resolution, firewall and certificates: nc -vz {host} {port}")
    writer.transport.abort()
    return Check(name, "ok", f"{host}:{port} answers")


def exit_code(checks: Iterable[Check]) -> int:
    """0 all good (warnings included), 1 something failed, 2 something could not be told."""
    found = {check.status for check in checks}
    return 1 if "fail" in found else 2 if "unknown" in found else 0
