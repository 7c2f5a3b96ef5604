"""The real command over real HTTP, our client behind its host table, and whole syncs into a real database."""

import json
import os
import secrets
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import psycopg
import pytest
from carelink_world import LOGIN, VERIFIER, CareLink, any_window

from evercgm.actions.sync import Result, sync_connection
from evercgm.core.errors import OperatorMustAct, VendorChanged
from evercgm.core.tokens import Secret, Tokens
from evercgm.provider_kit.contract import Login, Pasted, VendorApp
from evercgm.provider_kit.oauth import pkce_challenge
from evercgm.provider_kit.send import vendor_client
from evercgm.provider_kit.vendors import Vendors
from evercgm.providers import PROVIDERS
from evercgm.providers.medtronic import PROVIDER, kept
from evercgm.storage import connections
from evercgm.storage.database import Database, open_database
from evercgm.storage.vault import Vault

SOURCE = str(Path(__file__).parents[3] / "src")


@contextmanager
def started(*options: str) -> Iterator[subprocess.Popen[str]]:
    """The real command; killed at the end if the test did not stop it."""
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), SOURCE]))
    with subprocess.Popen(
        [sys.executable, "-m", "evercgm.cli.simulate", "medtronic", "--json", "--port", "0", *options],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def announced(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    told: dict[str, Any] = json.loads(process.stdout.readline())
    return told


async def signed_in(app: VendorApp, http: httpx2.AsyncClient, username: str, password: str) -> str:
    """As a browser walks it: the page, its form, the address that the app would be sent to."""
    page = await LOGIN.begin(http, app, Login("state-1", pkce_challenge(VERIFIER.reveal())))
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as browser:
        assert "I am not a robot" in (await browser.get(page)).text
        form = {**dict(parse_qsl(urlsplit(page).query)), "username": username, "password": password}
        answer = await browser.post(page.partition("?")[0], data={**form, "captcha": "ticked", "decision": "approve"})
    return str(answer.headers["location"])


async def test_the_command_serves_a_login_and_a_day_of_readings(tmp_path: Path) -> None:
    with started("--data-dir", str(tmp_path / "data"), "--fault", "pump_offset_min=330") as process:
        told = announced(process)
        account = told["accounts"][0]
        app = VendorApp("eu", told["url"])
        async with vendor_client(PROVIDER.hosts(app.base_url)) as http:
            pasted = await signed_in(app, http, account["username"], account["password"])
            given = Pasted(Secret(pasted), Secret("state-1"), VERIFIER)
            tokens = await LOGIN.settle(http, app, await LOGIN.finish(http, app, given))
            renewed = await PROVIDER.refresh(http, app, tokens.refresh)
            truth = f"{told['control_url']}/patients/pat.alpha/truth"
            before = (await http.get(truth)).json()
            batch = await PROVIDER.read(http, app, renewed.access, any_window())
            after = (await http.get(truth)).json()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)

    # Its clock goes on: a reading may come, and the oldest be a day old, between two calls.
    assert [(reading.measured_at, reading.glucose_mg_dl) for reading in batch.readings] in [
        [(datetime.fromisoformat(row["measured_at"]), min(max(row["glucose_mg_dl"], 39), 401)) for row in rows]
        for rows in (before, after)
    ]
    assert {reading.display_offset_min for reading in batch.readings} == {330}
    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--fault", "snow=1"), "there is none with this name"),
        (("--fault", "track=9.9"), "fault track"),
        (("--trace", "/nowhere.csv"), "cannot be read"),
    ],
)
def test_a_wrong_start_of_the_command_is_told_in_one_line(tmp_path: Path, option: tuple[str, str], said: str) -> None:
    with started("--data-dir", str(tmp_path / "data"), *option) as process:
        _, errors = process.communicate(timeout=30)

    assert process.returncode == 2
    assert said in errors
    assert len(errors.strip().splitlines()) == 1


async def test_a_document_that_leads_elsewhere_is_not_followed_over_the_network(tmp_path: Path) -> None:
    with started("--data-dir", str(tmp_path / "data"), "--fault", "host_moved=127.0.0.1:9") as process:
        app = VendorApp("eu", announced(process)["url"])
        async with vendor_client(PROVIDER.hosts(app.base_url)) as http:
            with pytest.raises(OperatorMustAct):
                await LOGIN.begin(http, app, Login("state-1", "challenge"))
            with pytest.raises(VendorChanged):
                await http.get("http://127.0.0.1:9/")


# Whole syncs.


@dataclass
class Household:
    """One person, connected to CareLink, in a real database."""

    db: Database
    vendors: Vendors
    carelink: CareLink
    connection_id: str
    admin_dsn: str

    async def sync(self) -> Result:
        result = await sync_connection(self.db, self.vendors, self.connection_id, trigger="command")
        assert result is not None
        return result

    def rows(self) -> list[tuple[datetime, float]]:
        found = self.sql("select timestamp, value from public.glucose_readings order by timestamp")
        return [(at.replace(tzinfo=UTC), value) for at, value in found]

    def status(self) -> tuple[str, str | None]:
        row = self.sql(
            "select c.status::text, s.reason from public.cgm_connections c"
            " join cgm_private.sync_state s on s.connection_id = c.id"
        )[0]
        return row[0], row[1]

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.admin_dsn, autocommit=True) as conn:
            return conn.execute(query).fetchall()


Connect = Callable[[str], Any]


@pytest.fixture
async def carelink(tmp_path: Path) -> AsyncIterator[CareLink]:
    world = CareLink(tmp_path / "cloud")
    yield world
    await world.close()


@pytest.fixture
async def household(carelink: CareLink, database: Any) -> AsyncIterator[Household]:
    tokens = await carelink.connect()
    person_id = str(uuid.uuid4())
    with psycopg.connect(database.admin_dsn, autocommit=True) as conn:
        conn.execute('insert into public."Person" (id, "ownerId") values (%s, %s)', (person_id, str(uuid.uuid4())))
    async with open_database(database.service_dsn, Vault(secrets.token_bytes(32))) as db:
        connection_id = await stored(db, carelink, tokens, person_id)
        vendors = Vendors(PROVIDERS, {("medtronic", "eu"): carelink.app}, {("medtronic", "eu"): carelink.http})
        yield Household(db, vendors, carelink, connection_id, database.admin_dsn)


async def stored(db: Database, carelink: CareLink, tokens: Tokens, person_id: str) -> str:
    survey = await PROVIDER.survey(carelink.http, carelink.app, tokens.access)
    async with db.as_worker() as conn:
        return await connections.store_connected(
            conn,
            db.vault,
            person_id=person_id,
            provider="medtronic",
            region="eu",
            account_id=survey.account_id,
            tokens=tokens,
        )


async def test_a_sync_stores_a_day_and_the_next_ones_store_nothing_twice(household: Household) -> None:
    assert (await household.sync()).outcome == "succeeded"
    first = household.rows()
    assert first == list(household.carelink.truth().items())

    household.carelink.cloud.set_fault("time_text", "words")
    household.carelink.cloud.set_fault("order", "shuffled")
    again = await household.sync()

    assert (again.saved.inserted, household.rows()) == (0, first)
    assert household.status() == ("connected", None)


@pytest.mark.parametrize("marked", [True, False])
async def test_a_late_batch_behind_the_newest_row_is_stored_at_its_time_and_moves_nothing(
    household: Household, marked: bool
) -> None:
    """First seen behind the newest row, a batch of each age, then in its place; older versions mark nothing."""
    cloud = household.carelink.cloud
    for minutes in (60, 175, 480):
        for newer in range(0, 10, 5):
            cloud.clear_faults()
            span = {"from_minutes": minutes + newer + 12, "to_minutes": minutes + newer, "in_minutes": 0}
            cloud.set_fault("backfill", span)
            cloud.set_fault("order", "backfill_last")
            cloud.set_fault("form", "flat" if marked else "legacy")
            cloud.move_clock(by=timedelta(minutes=3))
            assert (await household.sync()).outcome in ("succeeded", "nothing_new")

    truth = household.carelink.truth()
    assert [row for row in household.rows() if row[0] >= min(truth)] == list(truth.items())


async def test_what_comes_later_is_added_and_a_changed_value_takes_the_old_ones_place(household: Household) -> None:
    await household.sync()
    before = dict(household.rows())
    household.carelink.cloud.move_clock(by=timedelta(hours=3))
    household.carelink.cloud.set_fault("changed_value", 7)
    await household.sync()
    household.carelink.cloud.clear_faults()
    await household.sync()

    after = dict(household.rows())
    assert set(before.items()) <= set(after.items())
    assert set(household.carelink.truth().items()) <= set(after.items())
    assert len(after) == len(household.rows())
    assert len(after) > len(before) + 20


async def test_an_ended_access_token_is_renewed_within_the_sync_and_saved(household: Household) -> None:
    household.carelink.cloud.set_fault("tokens_ended", "access")

    assert (await household.sync()).outcome == "succeeded"
    assert household.rows() == list(household.carelink.truth().items())
    assert household.carelink.cloud.state.ledger.counts("token_calls")["refresh_token"] == 1
    assert household.carelink.cloud.state.ledger.counts("refresh_reuse") == {}


@pytest.mark.parametrize(
    ("fault", "value", "expected"),
    [
        ("link_removed", True, ("error", "unfollowed")),
        ("server_error", 504, ("connected", "vendor_unavailable")),
        ("forbidden", True, ("error", "vendor_denied")),
        ("clocks_missing", "all", ("error", "vendor_changed")),
        ("login_elsewhere", True, ("error", "sign_in_refused")),
    ],
)
async def test_each_trouble_shows_as_the_state_that_it_is(
    household: Household, fault: str, value: object, expected: tuple[str, str]
) -> None:
    await household.sync()
    household.carelink.cloud.set_fault(fault, value)

    assert (await household.sync()).outcome == "failed"

    assert household.status() == expected
    assert household.rows()


async def test_no_token_and_no_name_is_logged(household: Household, capsys: pytest.CaptureFixture[str]) -> None:
    await household.sync()
    tokens = await household.carelink.connect()
    secrets_ = [kept.opened(tokens.access, kept.Access).token, kept.opened(tokens.refresh, kept.Refresh).token]
    for fault, value in (
        ("tokens_ended", "access"),
        ("token_error", "invalid_grant"),
        ("empty", "list"),
        ("html", 403),
    ):
        household.carelink.cloud.set_fault(fault, value)
        await household.sync()

    said = "".join(capsys.readouterr())
    assert "sync_failing" in said
    for personal in ("eyJ", "follower", "pat.alpha", "Example", "NG0000000X", "com.medtronic", "access_token"):
        assert personal not in said
    assert not any(secret.reveal() in said for secret in secrets_)
