"""The demo's child processes: started, watched, restarted when they die, stopped; and the demo's lock."""

import ctypes
import fcntl
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from evercgm.core.errors import EvercgmError, SettingsError

LOOK_EVERY_S = 0.2
STOP_WITHIN_S = 10.0
# A child that dies more often than this within the run is not going to live.
MOST_RESTARTS = 20
BAD_USE = 2
PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class ChildFailed(EvercgmError):
    """A child process that does not stay up."""


@dataclass(slots=True)
class Child:
    """A running process and how to start it again; ``first_line`` is what it printed when ready."""

    name: str
    arguments: list[str]
    environment: dict[str, str] = field(repr=False)
    process: subprocess.Popen[str]
    first_line: str = ""
    restarts: int = 0


class Children:
    """All children of one demo; what they log goes to ``log``, or to our stderr where that is None."""

    def __init__(self, log: Path | None = None) -> None:
        self._children: list[Child] = []
        self._log = log

    def start(
        self, name: str, arguments: list[str], environment: Mapping[str, str], *, first_line: bool = False
    ) -> Child:
        """Start a Python process; with ``first_line`` wait for its first line on stdout.

        Raises SettingsError where it ends with exit code 2 (it has said why), ChildFailed where it ends otherwise.
        """
        child = Child(name, arguments, dict(environment), self._launch(arguments, environment))
        self._children.append(child)
        if first_line:
            child.first_line = self._first_line(child)
        return child

    def wait_for(self, url: str, seconds: float) -> None:
        """Wait until ``url`` answers 200. Raises ChildFailed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for child in self._children:
                if child.process.poll() is not None:
                    raise self._ended(child)
            try:
                if httpx2.get(url, timeout=2, trust_env=False).status_code == httpx2.codes.OK:
                    return
            except httpx2.HTTPError:
                pass
            time.sleep(LOOK_EVERY_S)
        raise ChildFailed(f"the service did not become ready within {seconds:.0f} s")

    def watch(self) -> None:
        """Restart what dies. Raises ChildFailed where one keeps dying."""
        while True:
            time.sleep(LOOK_EVERY_S)
            for child in self._children:
                if child.process.poll() is None:
                    continue
                if child.restarts >= MOST_RESTARTS:
                    raise self._ended(child)
                child.restarts += 1
                child.process = self._launch(child.arguments, child.environment)
                if child.first_line:
                    self._first_line(child)

    def stop(self) -> None:
        """Ask all to end, the last started first; kill what does not."""
        for child in reversed(self._children):
            child.process.terminate()
        deadline = time.monotonic() + STOP_WITHIN_S
        for child in reversed(self._children):
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()

    def _launch(self, arguments: list[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
        # A session of its own keeps Ctrl-C with us: we stop the children in order.
        with self._log.open("a") if self._log else nullcontext() as log:
            return subprocess.Popen(  # noqa: S603
                [sys.executable, *arguments],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def _first_line(self, child: Child) -> str:
        line = child.process.stdout.readline() if child.process.stdout else ""
        if not line:
            child.process.wait()
            raise self._ended(child)
        return line

    def _ended(self, child: Child) -> EvercgmError:
        code = child.process.returncode
        said = f"see {self._log}" if self._log else "its message is above"
        if code == BAD_USE:
            return SettingsError(f"{child.name} could not start; {said}")
        return ChildFailed(f"{child.name} ended with exit code {code}; {said}")


def _end_with_parent() -> None:
    """In the child: Linux ends it when the demo's own process goes, even by kill -9."""
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def demo_lock(data_dir: Path) -> Iterator[bool]:
    """Whether this data directory is ours to run; the lock goes with the process, even a killed one."""
    with (data_dir / "demo.lock").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
