"""The first of the README's two commands, as it stands there."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
from demo_process import environment

REPOSITORY = Path(__file__).resolve().parents[2]


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever happens here, nothing of the process's group is left."""
    try:
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def make_demo(data_dir: Path) -> tuple[str, str]:
    """Run ``make demo PORT=0`` until it has printed its link, look at the link, stop it: (link, all it printed)."""
    with (
        subprocess.Popen(
            ["make", "--silent", "demo", "PORT=0"],
            cwd=REPOSITORY,
            env=environment(data_dir),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            # Where this run itself was started in the background, Ctrl-C is ignored by whatever it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process,
        ended(process),
    ):
        assert process.stdout is not None
        printed = ""
        while "Stop with Ctrl-C" not in printed:
            line = process.stdout.readline()
            assert line, f"it ended early: {printed}"
            printed += line
        links = re.findall(r"http://\S+", printed)
        assert len(links) == 1, printed
        assert httpx2.get(links[0], trust_env=False).status_code == 200
        os.killpg(process.pid, signal.SIGINT)
        process.wait(40)
    return links[0], printed


def owner(data_dir: Path) -> str:
    return (data_dir / "owner").read_text()


def test_make_demo_prints_one_link_and_a_second_one_finds_the_data_of_the_first(tmp_path: Path) -> None:
    first, _ = make_demo(tmp_path / "data")
    before = owner(tmp_path / "data")

    second, _ = make_demo(tmp_path / "data")

    assert first != second
    assert owner(tmp_path / "data") == before
