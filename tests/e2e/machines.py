"""Machines for workers: network namespaces with a cable of their own where this one allows it, else plain processes."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

RELAY = Path(__file__).with_name("relay.py")
# Set aside for tests of networks (RFC 2544): nobody's addresses.
CABLES = "198.18.{}.{}"
NETWORK = "198.18.0.0/15"


class Machine(Protocol):
    """Where a worker runs. ``database``: host and port there; the vendor is at ``vendor_port`` of its loopback."""

    name: str
    database: tuple[str, int]
    vendor_port: int

    def command(self, words: Sequence[str]) -> list[str]:
        """How to run it there."""

    def cut_off(self) -> None:
        """Nothing goes through any more, and nobody is told so."""

    def mend(self) -> None:
        """As before."""


@dataclass
class Namespace:
    """A network namespace at the end of a cable."""

    name: str
    database: tuple[str, int]
    vendor_port: int
    namespace: str
    plug: str

    def command(self, words: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *words]

    def cut_off(self) -> None:
        ip("link", "set", self.plug, "down")

    def mend(self) -> None:
        ip("link", "set", self.plug, "up")


@dataclass
class Plain:
    """This machine; the way to the database leads over a relay that can fall silent."""

    name: str
    database: tuple[str, int]
    vendor_port: int
    relay: subprocess.Popen[str] = field(repr=False)

    def command(self, words: Sequence[str]) -> list[str]:
        return list(words)

    def cut_off(self) -> None:
        self.relay.send_signal(signal.SIGSTOP)

    def mend(self) -> None:
        self.relay.send_signal(signal.SIGCONT)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


def namespaces_work() -> bool:
    """Whether this machine lets us make them; tried, not guessed."""
    try:
        with _namespace(f"evercgm-{secrets.token_hex(4)}", "198.18.0.1", "198.18.0.2"):
            return True
    except (OSError, subprocess.SubprocessError):
        return False


@contextmanager
def machines(names: Sequence[str], database_port: int, vendor_port: int, *, apart: bool) -> Iterator[list[Machine]]:
    """A machine each; ``apart``: in network namespaces."""
    with ExitStack() as made:
        enter = made.enter_context
        if apart:
            cables = secrets.SystemRandom().sample(range(255 * 63), len(names))
            yield [
                enter(_apart(name, divmod(cable, 63), database_port, vendor_port))
                for name, cable in zip(names, cables, strict=True)
            ]
        else:
            yield [enter(_here(name, database_port, vendor_port)) for name in names]


@contextmanager
def _apart(name: str, cable: tuple[int, int], database_port: int, vendor_port: int) -> Iterator[Machine]:
    third, quarter = cable
    here, there = CABLES.format(third, 4 * quarter + 1), CABLES.format(third, 4 * quarter + 2)
    namespace = f"evercgm-{secrets.token_hex(4)}"
    with _namespace(namespace, here, there) as plug:
        machine = Namespace(name, (here, database_port), vendor_port, namespace, plug)
        # What speaks plain HTTP is reached by loopback alone.
        with relay(machine.command([]), vendor_port, here, vendor_port):
            yield machine


@contextmanager
def _here(name: str, database_port: int, vendor_port: int) -> Iterator[Machine]:
    with relay([], 0, "127.0.0.1", database_port) as (port, process):
        yield Plain(name, ("127.0.0.1", port), vendor_port, process)


@contextmanager
def _namespace(namespace: str, here: str, there: str) -> Iterator[str]:
    """It, and a cable to it; the name of our end."""
    plug, socket = f"ev{secrets.token_hex(4)}h", f"ev{secrets.token_hex(4)}n"
    ip("netns", "add", namespace)
    try:
        ip("link", "add", plug, "type", "veth", "peer", "name", socket, "netns", namespace)
        ip("address", "add", f"{here}/30", "dev", plug)
        ip("link", "set", plug, "up")
        for words in (
            ("link", "set", "lo", "up"),
            ("address", "add", f"{there}/30", "dev", socket),
            ("link", "set", socket, "up"),
        ):
            ip("-n", namespace, *words)
        yield plug
    finally:
        with suppress(subprocess.CalledProcessError):
            ip("link", "delete", plug)
        ip("netns", "delete", namespace)


@contextmanager
def relay(before: Sequence[str], port: int, host: str, there: int) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    words = [*before, sys.executable, str(RELAY), str(port), host, str(there)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process
    finally:
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    """At once, whatever its state."""
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
