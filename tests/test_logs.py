"""Logs: secrets are cut out by name and by form, of exceptions only the class is kept, a whole run shows nothing."""

import asyncio
import json
import logging
import logging.config
import re
import sqlite3
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import structlog
import uvicorn

from evercgm.core.tokens import Secret
from evercgm.logs import get_logger, redact, set_up_logs

sys.path.append(str(Path(__file__).parent / "actions"))

EMAIL = "marked.person@example.test"
FORMATS = ("json", "text")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Nothing that a test sets up stays."""
    names = [None, "evercgm", "uvicorn.error", "uvicorn.access"]
    before = [(logging.getLogger(name), logging.getLogger(name).level) for name in names]
    handlers, hook = logging.getLogger().handlers[:], sys.excepthook
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers
    logging.getLogger("uvicorn.access").disabled = False
    sys.excepthook = hook
    for logger, level in before:
        logger.setLevel(level)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("access_token", "abc"),
        ("password", "abc"),
        ("code", "abc"),
        ("database_dsn", "abc"),
        ("email", "abc"),
        ("user_name", "abc"),
        ("username", "abc"),
        ("glucose_mg_dl", 999),
        ("value", 999),
        ("query", "abc"),
        ("body", b"abc"),
        ("text", "sealed v1.0a1b2c3d.QUJDRA== here"),
        ("text", "host's " + "0" * 32 + ":" + "1" * 32 + ":9999"),
        ("text", "Authorization: Bearer QUJD"),
        ("text", "authorization: basic QUJD"),
        ("text", "[(b'authorization', b'Bearer QUJD')]"),
        ("text", "Cookie: evercgm_session=QUJD; evercgm_binding=QUJD"),
        ("text", "eyJhbGciOi.eyJzdWIiOi.QUJD"),
        ("text", "postgresql://user:QUJD@host/db"),
        ("text", "GET /callback?code=QUJD&state=QUJD"),
        ("text", "GET /?code=QUJD"),
        ("text", "grant_type=refresh_token&refresh_token=QUJD&client_secret=QUJD"),
        ("text", '{"access_token": "QUJD", "refresh_token":"QUJD"}'),
        ("text", "{'client_secret': 'QUJD'}"),
        ("text", "Key (email)=(QUJD@example.test) already exists"),
        ("text", "QUJD" * 16),
        ("deep", {"tokens": {"access_token": "QUJD"}, "list": ["Bearer QUJD", {"code": "QUJD"}]}),
        ("thing", ValueError("QUJD")),
        ("thing", Secret("QUJD")),
        ("thing", b"QUJD"),
        ("event", "it said refresh_token=QUJD"),
    ],
)
def test_a_secret_is_cut_out(name: str, value: Any) -> None:
    cleaned = redact(None, "info", {"event": "x", name: value})

    assert "QUJD" not in str(cleaned)
    assert "abc" not in str(cleaned)
    assert "999" not in str(cleaned)


def test_what_is_no_secret_stays() -> None:
    event = {
        "event": "sync_done",
        "connection_id": "6f1c2f0e-5b1e-4c3e-9c59-0123456789ab",
        "inserted": 3,
        "error": "VendorTryLater",
        "reason": "operator_must_act",
        "setting": "DEXCOM_CLIENT_SECRET",
        "error_code": "not_found",
        "key_id": "0a1b2c3d",
        "route": "dexcom",
        "ok": True,
        "nothing": None,
    }

    assert redact(None, "info", dict(event)) == event


def test_times_and_ids_are_texts_and_what_nests_too_deep_is_named_only() -> None:
    at, id_ = datetime(2026, 11, 24, tzinfo=UTC), UUID(int=7)
    deep: Any = "QUJD"
    for _ in range(9):
        deep = [deep]

    cleaned = redact(None, "info", {"event": "x", "at": at, "id": id_, "deep": deep})

    assert (cleaned["at"], cleaned["id"]) == (str(at), str(id_))
    assert "QUJD" not in str(cleaned)


@pytest.mark.parametrize("log_format", FORMATS)
@pytest.mark.parametrize("whose", ["ours", "library"])
def test_of_an_exception_only_class_and_place_are_kept(
    capsys: pytest.CaptureFixture[str], log_format: str, whose: str
) -> None:
    set_up_logs("DEBUG", log_format)
    log: Any = get_logger("evercgm.test") if whose == "ours" else logging.getLogger("a.library")
    try:
        marked = "marked-text"
        raise ValueError(marked)
    except ValueError:
        log.exception("it_failed", stack_info=True)

    said = COLOURS.sub("", capsys.readouterr().err)
    assert "marked" not in said
    assert "it_failed" in said
    assert "ValueError" in said
    assert "test_logs.py:" in said
    assert len(said.splitlines()) == 1


def test_a_task_that_nobody_waits_for_does_not_tell_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs("DEBUG", "json")

    async def lose_one() -> None:
        async def fail() -> None:
            raise ValueError("marked-text")

        task = asyncio.create_task(fail(), name="marked-name")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task

    asyncio.run(lose_one())

    said = capsys.readouterr().err
    assert "never retrieved" in said
    assert "marked" not in said


def test_a_crash_is_an_event_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs("INFO", "json")

    failure = ValueError("marked-text")
    sys.excepthook(ValueError, failure, None)

    event = json.loads(capsys.readouterr().err)
    assert (event["event"], event["error"], event["level"]) == ("crashed", "ValueError", "critical")
    assert "marked" not in str(event)


def test_libraries_are_not_heard_below_warning_and_no_access_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(uvicorn.config.LOGGING_CONFIG)
    set_up_logs("DEBUG", "json")

    for name in ("httpx2", "httpcore2", "psycopg.pool", "pgqueuer", "python_multipart", "asyncio", "uvicorn.error"):
        logging.getLogger(name).debug("marked")
    logging.getLogger("uvicorn.access").error("GET /callback marked")
    logging.getLogger("uvicorn.error").info("Started server process")
    get_logger("evercgm.test").debug("ours_is_heard")

    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert events == ["Started server process", "ours_is_heard"]


@pytest.mark.parametrize("level", ["WARNING", "ERROR"])
def test_the_level_holds_for_everybody(capsys: pytest.CaptureFixture[str], level: str) -> None:
    set_up_logs(level, "json")

    for log in (get_logger("evercgm.test"), logging.getLogger("uvicorn.error"), logging.getLogger("a.library")):
        log.info("too_low")
    get_logger("evercgm.test").error("heard")

    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["heard"]


def _tokens(cloud_dir: Path) -> set[str]:
    """Every code and token that the vendor ever gave."""
    with sqlite3.connect(cloud_dir / "dexcom-simulator.sqlite3") as db:
        found = {row[0] for row in db.execute("select code from codes union select token from tokens")}
    db.close()
    return found


@pytest.mark.parametrize("log_format", FORMATS)
async def test_a_whole_run_at_debug_shows_no_secret_and_no_reading(
    database: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str], log_format: str
) -> None:
    from sync_world import CLIENT, open_world, refusal

    set_up_logs("DEBUG", log_format)
    async with open_world(database.admin_dsn, database.service_dsn, tmp_path / "cloud") as world:
        world.caller.claims["email"] = EMAIL  # type: ignore[index]
        connection_id = await world.connect()
        await world.sync(connection_id)
        for refused in ("invalid_client", "invalid_grant", EMAIL):
            world.weather.answers["token"] = refusal(refused)
            world.expire_access_token(connection_id)
            await world.sync(connection_id)
        del world.weather.answers["token"]
        world.expire_access_token(connection_id)
        await world.sync(connection_id)
        world.weather.answers["egvs"] = (200, f'{{"records": [237, "{EMAIL}"'.encode())
        await world.sync(connection_id)
        sealed = world.sql("select access_token, refresh_token from public.cgm_connections")[0]

    said = COLOURS.sub("", capfd.readouterr().err)
    assert "sync_done" in said
    assert "operator_alarm" in said
    tokens = _tokens(tmp_path / "cloud")
    assert len(tokens) > 4
    for mark in (*tokens, *sealed, CLIENT.client_secret, EMAIL, EMAIL.partition("@")[0]):
        assert mark not in said
    names = _field_names(said, log_format)
    # A field that nobody has looked at is a field that may hold a glucose value.
    assert names <= KNOWN, names - KNOWN


KNOWN = {
    "event", "level", "timestamp", "connection_id", "run_id", "route", "provider", "region", "reason", "was", "error",
    "setting", "cure", "floor", "generation", "fetched", "inserted", "updated", "rejected", "starts", "account_known",
    "took_ms", "refreshing",
}  # fmt: skip


def _field_names(said: str, log_format: str) -> set[str]:
    if log_format == "text":
        return set(re.findall(r" (\w+)=", said))
    return {name for line in said.splitlines() for name in json.loads(line)}
