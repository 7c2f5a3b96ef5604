"""A run in which everything that can write does write, searched for every secret of it.

PostgreSQL logs each statement with its parameters, keeps its statistics, is dumped; the service logs at DEBUG, fails,
and is asked for its error pages. Sealed text is no secret in the database's own files; it is one everywhere else.
"""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psycopg
import pytest
from demo_process import Demo, connect, environment, passable_folder, start_demo, until
from series import at_rest, sql, stored

from evercgm.settings import parse_key
from evercgm.storage import embedded
from evercgm.storage.connections import access_place, refresh_place
from evercgm.storage.postgres_binaries import find_binaries
from evercgm.storage.vault import Vault

TALKATIVE = {
    "log_statement": "all",
    "log_error_verbosity": "verbose",
    "log_min_error_statement": "error",
    "log_min_messages": "debug1",
    "log_connections": "on",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
    "shared_preload_libraries": "pg_stat_statements",
}
MARK = "marked-by-the-test"


@dataclass
class Aftermath:
    """What a run left behind, by the name of where it stands, and what may stand nowhere in it."""

    texts: dict[str, str]
    secrets: dict[str, str]
    sealed: list[str] = field(default_factory=list)


def given_by_the_vendor(data_dir: Path) -> list[str]:
    """Every code and token that the simulated vendor ever gave."""
    with closing(sqlite3.connect(data_dir / "simulators" / "dexcom" / "dexcom-simulator.sqlite3")) as db:
        return [row[0] for row in db.execute("select code from codes union select token from tokens")]


def stored_pair(demo: Demo) -> tuple[str, list[str], list[str]]:
    """The connection's id, its two stored texts, and its two tokens."""
    vault = Vault(parse_key("key", (demo.data_dir / "encryption.key").read_text()))
    id_, access, refresh = sql(demo, "select id, access_token, refresh_token from public.cgm_connections")[0]
    opened = [vault.open(access, access_place(id_)), vault.open(refresh, refresh_place(id_))]
    return id_, [access, refresh], [token.reveal() for token in opened]


def walk(demo: Demo) -> tuple[list[str], list[str]]:
    """Connect, sync, refresh, fail in several ways; the answers that were given, and the sealed texts on the way."""
    person_id = str(demo.line["persons"][0]["id"])
    assert "cgm=connected" in connect(demo, person_id)
    until(lambda: stored(demo, person_id), "readings are stored")
    # A sync that is open would be given instead of one that meets the token's end.
    at_rest(demo, person_id)
    connection_id, sealed, _ = stored_pair(demo)
    sql(demo, "update public.cgm_connections set token_expires_at = now() where id = %s returning id", connection_id)
    answers = []
    with demo.api() as api:
        answers.append(api.post("/sync", json={"connection_id": connection_id}).text)
        until(lambda: sql(demo, "select from cgm_private.sync_state where generation > 0"), "a token was refreshed")
        for path in ("/connections", f"/connections/{connection_id}", f"/syncs?connection_id={connection_id}"):
            answers.append(api.get(path).text)
        answers.append(api.post("/dexcom/oauth", content=f'{{"region": "{MARK}"').text)
        answers.append(api.get(f"/connections/{MARK}").text)
    with httpx2.Client(trust_env=False) as browser:
        callback = f"{demo.url}/api/metabolic/cgm/dexcom/callback?code={MARK}&state={MARK}"
        answers.append(str(dict(browser.get(callback).headers)))
        browser.get(demo.line["sign_in_url"])
        answers.append(browser.get(f"{demo.url}/connect/{MARK}").text)
        answers.append(browser.get(f"{demo.url}/api/metabolic/cgm/session", headers={"Authorization": MARK}).text)
        answers += [browser.get(f"{demo.url}/{place}").text for place in ("healthz", "readyz", "metrics")]
    return answers, [*sealed, *stored_pair(demo)[1]]


def refused_at_the_door(demo: Demo) -> str:
    """What a service says that is given a wrong database password, a wrong key, a wrong setting."""
    said = ""
    right = demo.line["database_url"]
    user, _, place = right.rpartition("@")
    wrong = f"{user.rpartition(':')[0]}:{MARK}@{place}"
    key = (demo.data_dir / "encryption.key").read_text().strip()
    for given in (
        {"DATABASE_URL": wrong, "ENCRYPTION_KEY": key},
        {"DATABASE_URL": right, "ENCRYPTION_KEY": f"{MARK}{key}"},
        {"DATABASE_URL": right, "ENCRYPTION_KEY": key, "DEXCOM_CLIENT_SECRET": MARK},
    ):
        ended = subprocess.run(
            [sys.executable, "-m", "evercgm.cli.main", "work"],
            env={**environment(demo.data_dir), **given, "EVERCGM_LOG_LEVEL": "DEBUG"},
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert ended.returncode in (1, 2), ended.stderr
        said += ended.stdout + ended.stderr
    return said


def process_list() -> str:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        # Some are another's, and some end before they are read.
        with suppress(PermissionError, FileNotFoundError, ProcessLookupError):
            found.append(path.read_bytes().decode(errors="replace"))
    return "".join(found)


def statistics(demo: Demo) -> str:
    with psycopg.connect(demo.line["admin_database_url"], autocommit=True) as conn:
        conn.execute("create extension if not exists pg_stat_statements schema public")
        rows = conn.execute("select query from public.pg_stat_statements").fetchall()
        conn.execute("drop extension pg_stat_statements")
    return "\n".join(row[0] for row in rows)


def dump(demo: Demo) -> str:
    program = str(find_binaries().folder / "pg_dump")
    arguments = [program, "--dbname", demo.line["admin_database_url"]]
    return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout


def postgres_log(demo: Demo) -> str:
    """The server's log, beside the data or where they were moved to."""
    server_dir = Path(json.loads((demo.data_dir / "postgres.json").read_text())["server_dir"])
    logs = [path for folder in (demo.data_dir, server_dir) for path in folder.glob("*.log")]
    assert logs
    return "".join(path.read_text() for path in logs)


def secrets_of(demo: Demo) -> dict[str, str]:
    registration = json.loads((demo.data_dir / "simulated-registration.json").read_text())
    notes = json.loads((demo.data_dir / "postgres.json").read_text())
    passwords = {name: str(value) for name, value in notes.items() if "password" in name}
    assert passwords
    return {
        **{f"given by the vendor {n}": token for n, token in enumerate(given_by_the_vendor(demo.data_dir))},
        **passwords,
        "client secret": registration["client_secret"],
        "encryption key": (demo.data_dir / "encryption.key").read_text().strip(),
        "web token": demo.line["owner_jwt"],
        "sign-in link": demo.line["sign_in_url"].rpartition("/")[2],
    }


@pytest.fixture(scope="module")
def aftermath() -> Iterator[Aftermath]:
    with passable_folder() as folder:
        data_dir = folder / "data"
        data_dir.mkdir(mode=0o711)
        embedded.start(data_dir, options=TALKATIVE)
        demo = start_demo(data_dir, env={"EVERCGM_LOG_LEVEL": "DEBUG"})
        try:
            answers, sealed = walk(demo)
            texts = {
                "answers": "\n".join(answers),
                "refusals at the start": refused_at_the_door(demo),
                "process list": process_list(),
                "statement statistics": statistics(demo),
                "dump": dump(demo),
            }
            with psycopg.connect(demo.line["admin_database_url"], autocommit=True) as conn:
                conn.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'evercgm%'"
                )
        finally:
            demo.stop()
        texts |= {"log of the service": demo.log.read_text(), "log of the database": postgres_log(demo)}
        yield Aftermath(texts, secrets_of(demo), sealed)


def test_the_search_would_find_something(aftermath: Aftermath) -> None:
    texts = aftermath.texts
    assert "sync_done" in texts["log of the service"]
    assert "token_refreshed" in texts["log of the service"]
    assert any(sealed in texts["log of the database"] for sealed in aftermath.sealed)
    assert "access_token" in texts["statement statistics"]
    assert "cgm_jobs.pgqueuer" in texts["dump"]
    assert any(sealed in texts["dump"] for sealed in aftermath.sealed)
    assert "evercgm" in texts["process list"]
    assert len(aftermath.secrets) > 9
    assert all(len(secret) > 20 for secret in aftermath.secrets.values())


@pytest.mark.parametrize(
    "place",
    [
        "answers", "refusals at the start", "process list", "statement statistics", "dump", "log of the service",
        "log of the database",
    ],
)  # fmt: skip
def test_no_secret_of_a_run_is_found_there(aftermath: Aftermath, place: str) -> None:
    text = aftermath.texts[place]

    assert [name for name, secret in aftermath.secrets.items() if secret in text] == []


@pytest.mark.parametrize("place", ["answers", "refusals at the start", "process list", "log of the service"])
def test_no_sealed_text_and_nothing_of_a_query_leaves_the_database(aftermath: Aftermath, place: str) -> None:
    text = aftermath.texts[place]

    assert len(set(aftermath.sealed)) == 4
    assert [sealed for sealed in aftermath.sealed if sealed in text] == []
    assert MARK not in text
