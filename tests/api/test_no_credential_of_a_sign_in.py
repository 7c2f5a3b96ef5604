"""Sign-ins by password and by paste, kept and not, with syncs and failures, searched for every credential of theirs."""

import base64
import json
import logging
import re
import traceback
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import psycopg
import pytest
from api_world import BASE, ORIGIN, Owner, Run, make_owner
from psycopg import sql
from sign_in_clouds import LIBRE_ACCOUNTS, SHARE_ACCOUNTS, SignInClouds, open_clouds

from evercgm.actions import sign_in
from evercgm.actions.sync import sync_connection
from evercgm.api.app import create_app
from evercgm.core.caller import Caller
from evercgm.core.errors import EvercgmError
from evercgm.core.tokens import Secret
from evercgm.provider_kit.contract import Credentials
from evercgm.providers.medtronic.simulator.cloud import ACCOUNTS as CARELINK_ACCOUNTS
from evercgm.runtime import Runtime

SCHEMAS = ["cgm_private", "cgm_jobs", "public"]
SEALED = re.compile(r"(v1\.[0-9a-f]{8}\.[A-Za-z0-9_=-]+)?")
SEALED_COLUMN = re.compile(r"access_token|refresh_token|pkce_verifier|sealed_\w+|previous_refresh_token|secret|session")
# Of each way in a name and a password, of which nothing is part of anything else.
KEPT, ONCE, FAMILY = "marked-kept@example.com", "marked-once@example.com", "marked-family@example.com"
SHARE_KEPT, SHARE_ONCE, CARELINK = "MarkedShareKept", "MarkedShareOnce", "marked.carelink"
NAMES = (KEPT, ONCE, FAMILY, SHARE_KEPT, SHARE_ONCE, CARELINK)
WRONG = "marked-wrong-password"


def password_of(name: str) -> str:
    return f"marked-password-of-{name.partition('@')[0]}"


@dataclass
class SignIns:
    """A service and its clouds; ``answers``: all that was told; ``marks``: what may stand nowhere, by its name."""

    wired: Runtime
    client: httpx2.AsyncClient
    clouds: SignInClouds
    dsn: str
    ada: Owner
    bob: Owner
    answers: list[str] = field(default_factory=list)
    marks: dict[str, str] = field(default_factory=dict)

    async def post(self, owner: Owner, path: str, status: int, **body: Any) -> dict[str, Any]:
        answer = await self.client.post(f"{BASE}{path}", json=body, headers=owner.bearer)
        assert answer.status_code == status, answer.text
        self.answers.append(f"{answer.text} {dict(answer.headers)}")
        return dict(answer.json())

    async def failing(self, deed: Awaitable[object]) -> None:
        """An error's own text with its traceback, as a log might show them."""
        with pytest.raises(EvercgmError) as raised:
            await deed
        self.answers.append("".join(traceback.format_exception(raised.value)) + repr(raised.value))

    async def address(self, owner: Owner) -> str:
        """The address of a marked sign-in at CareLink: its code and state are marks from now on."""
        answer = await self.client.post(f"{BASE}/medtronic/oauth", json={"region": "eu"}, headers=owner.bearer)
        address = await self.clouds.leave_page(answer.json()["authorization_url"], CARELINK, password_of(CARELINK))
        said = parse_qs(urlsplit(address).query)
        self.marks |= {f"{name} {len(self.marks)}": said[name][0] for name in ("code", "state")}
        return address

    async def bundle(self) -> str:
        """Another tool's tokens of the marked account: marks from now on."""
        text = await self.clouds.bundle(CARELINK, password_of(CARELINK))
        tokens = json.loads(text)
        self.marks |= {f"{name} {len(self.marks)}": tokens[name] for name in ("access_token", "refresh_token")}
        return text

    async def sync_all(self) -> list[str]:
        """One sync of each connection; how each ended."""
        with psycopg.connect(self.dsn) as conn:
            ids = [row[0] for row in conn.execute("select id from public.cgm_connections order by id")]
        ends = []
        for id_ in ids:
            result = await sync_connection(self.wired.db, self.wired.vendors, id_, trigger="command")
            self.answers.append(repr(result))
            ends.append(result.outcome if result else "")
        return ends


@pytest.fixture
async def service(runtime: Runtime, admin: Run, database: Any, tmp_path: Path) -> AsyncIterator[SignIns]:
    one, family = LIBRE_ACCOUNTS[0], LIBRE_ACCOUNTS[1]
    libre = [
        replace(shipped, username=name, password=password_of(name))
        for name, shipped in ((KEPT, one), (ONCE, one), (FAMILY, family))
    ]
    share = [
        replace(SHARE_ACCOUNTS[0], username=name, password=password_of(name), also=())
        for name in (SHARE_KEPT, SHARE_ONCE)
    ]
    carelink = [replace(CARELINK_ACCOUNTS[0], username=CARELINK, password=password_of(CARELINK))]
    async with open_clouds(
        tmp_path / "clouds", libre_accounts=libre, share_accounts=share, carelink_accounts=carelink
    ) as clouds:
        wired = replace(runtime, vendors=clouds.vendors)
        transport = httpx2.ASGITransport(app=create_app(wired))
        async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            ada, bob = await make_owner(wired, admin, "Ada"), await make_owner(wired, admin, "Bob")
            marks = {f"name {name}": name for name in NAMES} | {f"password {name}": password_of(name) for name in NAMES}
            yield SignIns(
                wired, client, clouds, database.admin_dsn, ada, bob, marks=marks | {"wrong": WRONG, "bad": "marked-bad"}
            )


async def signed_in(run: SignIns) -> None:
    """Every way in, by one owner with what is kept, by the other with what is not; wrong ones before the right ones."""
    for owner, keep, libre, share in ((run.ada, True, KEPT, SHARE_KEPT), (run.bob, False, ONCE, SHARE_ONCE)):
        for path, name, more in (("/libre/login", libre, {}), ("/dexcom/share/login", share, {"region": "us"})):
            body = {"username": name, "keep_password": keep, **more}
            await run.post(owner, path, 409, password=WRONG, **body)
            await run.post(owner, path, 422, password=WRONG, **body, marked=WRONG)
            await run.post(owner, path, 201, password=password_of(name), **body)
    used = await run.address(run.ada)
    await run.post(run.ada, "/medtronic/callback", 201, redirect_url=used)
    await run.post(run.ada, "/medtronic/callback", 422, redirect_url=used)
    bundle = await run.bundle()
    await run.post(
        run.bob, "/medtronic/callback", 422, token_bundle=bundle.replace("{", '{"client_secret": "marked-bad",')
    )
    await run.post(run.bob, "/medtronic/callback", 201, token_bundle=bundle)
    await run.post(run.bob, "/medtronic/callback", 422, token_bundle=bundle)


async def left_waiting(run: SignIns) -> None:
    """A choice that was answered wrongly, an address that was not pasted, and the errors themselves."""
    family = {"username": FAMILY, "password": password_of(FAMILY), "keep_password": True}
    asked = await run.post(run.ada, "/libre/login", 409, **family)
    await run.post(run.ada, "/connections/confirm", 422, attempt=asked["attempt"], who="marked-bad")
    await run.address(run.ada)
    claims = {"sub": run.ada.owner_id, "role": "authenticated", "aud": "authenticated"}
    where = {"person_id": run.ada.person_id, "region": "eu", "route": "medtronic"}
    service = (run.wired.db, run.wired.vendors, Caller(run.ada.owner_id, claims))
    for text in (await run.address(run.bob), '{"refresh_token": "marked-bad"}', "marked-bad"):
        await run.failing(sign_in.finish_paste(*service, pasted=Secret(text), **where))
    credentials = Credentials(Secret(KEPT), Secret(WRONG), keep=True)
    libre = {"person_id": run.ada.person_id, "region": "world", "route": "libre"}
    await run.failing(sign_in.by_password(*service, credentials=credentials, **libre))


async def failed(run: SignIns) -> None:
    """Ended sessions, whose passwords are sent once more where they are kept; refusals; pages; silence."""
    libre, share, carelink = run.clouds.libre, run.clouds.share.desk, run.clouds.carelink
    for troubles in (
        [(libre, "tokens_ended", True), (share, "session_ended", "not_valid"), (carelink, "tokens_ended", "access")],
        [(libre, "html", True), (share, "html", True), (carelink, "html", 200)],
        [(libre, "tokens_ended", True), (libre, "login_step", "tou"), (carelink, "tokens_ended", "access"),
         (carelink, "token_error", "invalid_grant")],
    ):  # fmt: skip
        for cloud, name, value in troubles:
            cloud.set_fault(name, value)
        assert "failed" in await run.sync_all()
        for cloud in (libre, share, carelink):
            cloud.clear_faults()


def rows_of_the_database(dsn: str) -> dict[str, list[str]]:
    """Each table with each of its rows as text."""
    with psycopg.connect(dsn) as conn:
        tables = conn.execute(
            "select schemaname, tablename from pg_tables where schemaname = any(%s)", (SCHEMAS,)
        ).fetchall()
        return {
            f"{schema}.{table}": [
                row[0]
                for row in conn.execute(
                    sql.SQL("select to_jsonb(t)::text from {} t").format(sql.Identifier(schema, table))
                )
            ]
            for schema, table in tables
        }


def ways_that_were_read(dsn: str) -> set[tuple[str, int]]:
    """Each way in with the number of persons of whom it gave readings."""
    query = (
        "select split_part(stream, '/', 2), count(distinct person_id)::int from cgm_private.reading_details group by 1"
    )
    with psycopg.connect(dsn) as conn:
        return set(conn.execute(query).fetchall())


def found_in(text: str, marks: dict[str, str]) -> list[str]:
    """The marks that stand in a text: as they are, or as bytes in hex (a job's payload) or base64."""
    return [
        name
        for name, mark in marks.items()
        if any(form in text for form in (mark, mark.encode().hex(), base64.b64encode(mark.encode()).decode()))
    ]


def found_anywhere(run: SignIns, logged: str) -> list[tuple[str, str]]:
    tables = {name: "\n".join(rows) for name, rows in rows_of_the_database(run.dsn).items()}
    places = {**tables, "log": logged, "answers": "\n".join(run.answers)}
    return [(place, name) for place, text in places.items() for name in found_in(text, run.marks)]


def sealed_columns(dsn: str) -> dict[str, list[str]]:
    """By table and column: the stored texts."""
    kept: dict[str, list[str]] = {}
    for table, rows in rows_of_the_database(dsn).items():
        for row in rows:
            for column, value in json.loads(row).items():
                if SEALED_COLUMN.fullmatch(column) and isinstance(value, str):
                    kept.setdefault(f"{table}.{column}", []).append(value)
    return kept


async def test_no_credential_of_a_sign_in_stands_anywhere_after_syncs_and_failures(
    service: SignIns, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await signed_in(service)
    assert set(await service.sync_all()) <= {"succeeded", "nothing_new"}
    assert ways_that_were_read(service.dsn) == {
        (way, 2) for way in ("libre", "libre.live", "dexcom_share", "medtronic")
    }
    await left_waiting(service)
    await failed(service)
    logged = "".join(capsys.readouterr()) + caplog.text

    assert "sync_failing" in logged
    assert "connect_asks_whom" in logged
    assert len(service.marks) == 22
    assert found_anywhere(service, logged) == []
    sealed = sealed_columns(service.dsn)
    assert {name: [text for text in texts if not SEALED.fullmatch(text)] for name, texts in sealed.items()} == {
        name: [] for name in sealed
    }
    # Each of the places where something is kept holds something: what was kept, what waits, what was asked for.
    for place in (
        "public.cgm_connections.access_token", "public.cgm_connections.refresh_token",
        "cgm_private.oauth_attempts.pkce_verifier", "cgm_private.oauth_attempts.sealed_access",
        "cgm_private.routes.session", "cgm_private.routes.secret",
    ):  # fmt: skip
        assert any(sealed[place]), place
    assert rows_of_the_database(service.dsn)["cgm_private.audit_events"]


async def test_the_search_would_find_a_mark_in_a_text_in_json_in_a_jobs_bytes_and_in_a_log(
    service: SignIns, admin: Run
) -> None:
    await admin("update cgm_private.person_settings set label = %s", (f"is {WRONG} here",))
    await admin(
        "insert into cgm_private.oauth_attempts (id, person_id, owner_id, provider, region, handover_hash, expires_at)"
        " values ('a', %s, 'o', 'libre', 'world', %s, now())",
        (service.ada.person_id, f"in bytes {password_of(KEPT)}".encode()),
    )
    service.answers.append(f"refused: {ONCE}")

    found = found_anywhere(service, f"event password={password_of(ONCE)!r}")

    assert set(found) == {
        ("cgm_private.person_settings", "wrong"),
        ("cgm_private.oauth_attempts", f"password {KEPT}"),
        ("log", f"password {ONCE}"),
        ("answers", f"name {ONCE}"),
    }
