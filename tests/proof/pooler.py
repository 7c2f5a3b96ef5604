"""PgBouncer in transaction mode with one server connection: what a client leaves behind, the next one meets."""

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from debian_postgres import free_port
from foreign_tools import find_tool

from evercgm.storage.postgres_binaries import server_account

STARTS_WITHIN_S = 15


@contextmanager
def pgbouncer(*dsns: str) -> Iterator[int]:
    """A pooler in front of the server of these DSNs, for their users; its port."""
    program, account, port = find_tool("pgbouncer", "pgbouncer"), server_account(), free_port()
    with tempfile.TemporaryDirectory(prefix="evercgm-pooler-") as name:
        folder = Path(name)
        users, configuration = folder / "users.txt", folder / "pgbouncer.ini"
        for file in (users, configuration):
            file.touch(mode=0o600)
        parts = [urlsplit(dsn) for dsn in dsns]
        users.write_text("".join(f'"{one.username}" "{one.password}"\n' for one in parts))
        configuration.write_text(
            f"[databases]\n* = host={parts[0].hostname} port={parts[0].port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\n"
            "pool_mode = transaction\ndefault_pool_size = 1\nmax_client_conn = 200\n"
        )
        account.own(folder, users, configuration)
        who = {"user": account.uid, "group": account.gid, "extra_groups": []} if account.switch else {}
        with (folder / "log").open("w") as log:
            process = subprocess.Popen([program, configuration], stdout=log, stderr=log, cwd="/", **who)  # type: ignore[call-overload]
        try:
            _wait_for(port, folder / "log")
            yield port
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(port: int, log: Path) -> None:
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(log.read_text())


def through(dsn: str, port: int) -> str:
    """The same user and database, by the pooler."""
    parts = urlsplit(dsn)
    return parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}").geturl()
