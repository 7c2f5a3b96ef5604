"""A database's address goes to the driver in one place, which tells what is wrong without a part of it."""

import ast
import os
import secrets
import socket
from pathlib import Path
from typing import Any

import pytest

from evercgm.core.errors import SettingsError
from evercgm.storage.address import connect, parts_of
from evercgm.storage.database import open_database
from evercgm.storage.persons import add_person, list_persons, the_owner
from evercgm.storage.schema.prepare import lend_roles, make_login_role
from evercgm.storage.schema.rights import refuse_too_much
from evercgm.storage.schema.verify import role_of
from evercgm.storage.vault import Vault

SOURCE = Path(__file__).resolve().parents[2] / "src" / "evercgm"
UNREADABLE = [
    "postgresql://marked-user:marked%zzpassword@marked-host/d",
    "postgresql://marked-user:marked%@marked-host/d",
    "postgresql://marked-user:marked%00password@marked-host/d",
    "postgresql://marked-user:marked\udcffpassword@marked-host/d",
    "postgresql://[marked-host/d",
    "postgresql://marked-user@marked-host/d?marked=1",
    "host='marked-host",
    "marked-word marked-word",
]


@pytest.mark.parametrize("dsn", UNREADABLE)
async def test_an_address_that_cannot_be_read_is_told_by_its_setting_alone(dsn: str) -> None:
    with pytest.raises(SettingsError) as refused:
        await connect(dsn, "A_DATABASE_URL")

    assert str(refused.value) == "A_DATABASE_URL: this is no PostgreSQL URL, expected postgresql://…"


async def test_wherever_an_address_is_opened_it_is_told_like_that() -> None:
    dsn = UNREADABLE[0]

    async def pool() -> None:
        async with open_database(dsn, Vault(secrets.token_bytes(32))):
            pass

    for opened in (
        pool(),
        add_person(dsn, "owner", "Alex"),
        list_persons(dsn),
        the_owner(dsn),
        refuse_too_much(dsn),
        lend_roles(dsn, "owner"),
        make_login_role(dsn, "evercgm", "password"),
    ):
        with pytest.raises(SettingsError) as refused:
            await opened
        assert "this is no PostgreSQL URL" in str(refused.value)
        assert "marked" not in str(refused.value)


@pytest.mark.parametrize(("said", "noticed_after_ms"), [("", 20_000), ("?tcp_user_timeout=90000", 90_000)])
async def test_a_server_that_is_silent_is_noticed_unless_the_address_says_otherwise(
    database: Any, said: str, noticed_after_ms: int
) -> None:
    async with (
        await connect(database.service_dsn + said, "A_DATABASE_URL") as conn,
        open_database(database.service_dsn + said, Vault(secrets.token_bytes(32)), largest=1) as db,
        db.as_worker() as pooled,
    ):
        for one in (conn, pooled):
            with socket.socket(fileno=os.dup(one.fileno())) as line:
                assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
                assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == noticed_after_ms


def test_who_logs_in_is_read_where_the_address_says_so() -> None:
    assert role_of("postgresql://somebody@host/d") == "somebody"
    assert role_of("postgresql://host/d") is None
    assert [role_of(dsn) for dsn in UNREADABLE[:6]] == [None] * 6
    with pytest.raises(SettingsError, match="A_DATABASE_URL"):
        parts_of(UNREADABLE[0], "A_DATABASE_URL")


def test_nothing_else_in_the_house_hands_an_address_to_the_driver() -> None:
    openers = {"connect", "AsyncConnectionPool", "ConnectionPool", "conninfo_to_dict"}
    found = set()
    for path in SOURCE.rglob("*.py"):
        if "simulator" in path.parts:
            continue
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            owner, _, last = name.rpartition(".")
            if last in openers and ("onnection" in owner or "psycopg" in owner or (last != "connect" and not owner)):
                found.add(str(path.relative_to(SOURCE)))

    # The pool's address is read in that one place first; the embedded server's addresses are its own making.
    assert found == {"storage/address.py", "storage/database.py", "storage/embedded.py"}
