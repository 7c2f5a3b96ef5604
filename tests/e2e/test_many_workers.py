"""Three workers on three machines with clocks that are wrong: killed, stopped, cut off, restarted, told to go.

Whatever happens, each due time is one run of one worker at a time, nothing is lost or doubled, and nobody is blamed.
"""

import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from demo_process import ended_within, passable_folder, until
from fleet import Fleet, Worker, open_fleet
from machines import namespaces_work

PERSONS = 12
CLOCKS = {"one": 0, "two": 20, "three": -20}
HEARTBEAT_S = 5
# Four at a time and a vendor that takes a while: twelve persons keep all three at work.
OPTIONS = ("--concurrency", "4", "--heartbeat", str(HEARTBEAT_S))
TAKEN_OVER_WITHIN = timedelta(minutes=1)
ENDS_WITHIN_S = 10
# From 4.5 to 22 minutes after its end, which is written down a moment later; a wrong clock would be 20 minutes off.
POLLED_AFTER = (timedelta(minutes=4), timedelta(minutes=22))


@pytest.fixture(scope="module")
def apart() -> bool:
    return namespaces_work()


@pytest.fixture(scope="module")
def opened(apart: bool) -> Iterator[Fleet]:
    with (
        passable_folder() as folder,
        open_fleet(folder, apart=apart, clocks=CLOCKS, persons=PERSONS, options=OPTIONS) as fleet,
    ):
        yield fleet


@pytest.fixture
def fleet(opened: Fleet, apart: bool, record_property: Callable[[str, object], None]) -> Iterator[Fleet]:
    """At rest; at the end of each test all is sound, and every series is the vendor's."""
    record_property("told", f"workers on several machines: {'network namespaces' if apart else 'plain processes'}")
    began = datetime.now(UTC)
    yield opened
    opened.slow(None)
    opened.come_to_rest()
    assert broken_rules(opened) == []
    assert opened.differing(began) == []


def broken_rules(fleet: Fleet) -> list[str]:
    """Of what the journal tells: who wrote for a run without holding it, and due times that were not one run."""
    found = []
    holders: dict[str, tuple[str, int]] = {}
    runs: dict[tuple[str, str], set[str]] = {}
    for entry in sorted(fleet.journal("run") + fleet.journal("reading"), key=lambda entry: entry["id"]):
        connection_id = entry["connection_id"]
        holder = holders.get(connection_id, (None, 0))
        if entry["what"] == "run" and entry["state"] == "running" and entry["starts"] > holder[1]:
            holders[connection_id] = (entry["machine"], entry["starts"])
        elif entry["machine"] != holder[0]:
            found.append(f"{entry['machine']} wrote what {holder[0]} held: {entry}")
        if entry["what"] == "run":
            runs.setdefault((connection_id, entry["due_at"]), set()).add(entry["run_id"])
            if entry["outcome"] == "failed":
                found.append(f"failed: {entry}")
            if entry["state"] == "done":
                holders.pop(connection_id, None)
    found += [
        f"{connection_id} at {due_at}: {len(ids)} runs" for (connection_id, due_at), ids in runs.items() if len(ids) > 1
    ]
    if len(runs) != PERSONS:
        found.append(f"{len(runs)} due times of {PERSONS} persons were met")
    return found


def begin(fleet: Fleet, worker: Worker) -> list[str]:
    """All are due, and this worker has some of them in hand while the vendor takes its time; which ones.

    One that was just started, or has just come back, may come too late for a round: there is another one.
    """

    def has_some() -> list[str]:
        fleet.make_due()
        until(lambda: fleet.at_work(worker) or fleet.is_at_rest(), "somebody has them in hand", 60)
        return fleet.at_work(worker)

    return list(until(has_some, f"{worker.name} is at work", 90))


def takeovers(fleet: Fleet, connections: list[str], since: datetime) -> list[timedelta]:
    """After how long somebody else went on with each of these, by the database's clock."""
    starts = {entry["connection_id"]: entry for entry in fleet.journal() if entry["starts"] == 2}
    return [datetime.fromisoformat(starts[one]["at"]) - since for one in connections if one in starts]


def test_what_a_killed_one_had_in_hand_is_taken_over_within_a_minute(fleet: Fleet) -> None:
    victim = fleet.workers[1]
    fleet.slow(5)
    in_hand = begin(fleet, victim)

    victim.signal(signal.SIGKILL)
    victim.process.wait()
    since = fleet.now()
    fleet.slow(None)
    fleet.come_to_rest()

    took = takeovers(fleet, in_hand, since)
    assert len(took) == len(in_hand) > 0
    assert max(took) < TAKEN_OVER_WITHIN
    assert broken_rules(fleet) == []
    victim.start()


@pytest.mark.parametrize("way", ["stopped", "cut off"])
def test_one_that_was_silent_and_comes_back_writes_nothing_of_what_it_has_lost(fleet: Fleet, way: str) -> None:
    silent = fleet.workers[1]
    fleet.slow(5)
    in_hand = begin(fleet, silent)
    noticed = silent.told("sync_taken_over") + silent.told("job_put_back")

    if way == "stopped":
        silent.signal(signal.SIGSTOP)
    else:
        silent.machine.cut_off()
    since = fleet.now()
    until(lambda: len(takeovers(fleet, in_hand, since)) == len(in_hand), "others go on with all of them", 60)
    # It comes back while they are still at it.
    if way == "stopped":
        silent.signal(signal.SIGCONT)
    else:
        silent.machine.mend()
    until(lambda: silent.told("sync_taken_over") + silent.told("job_put_back") > noticed, "it noticed its loss", 60)
    fleet.slow(None)
    fleet.come_to_rest()

    assert max(takeovers(fleet, in_hand, since)) < TAKEN_OVER_WITHIN
    assert broken_rules(fleet) == []
    assert silent.process.poll() is None


def test_one_that_is_told_to_go_ends_within_ten_seconds_and_gives_back_what_it_cannot_finish(fleet: Fleet) -> None:
    going = fleet.workers[1]
    # No call is answered in time.
    fleet.slow(8)
    in_hand = begin(fleet, going)

    since = fleet.now()
    going.signal(signal.SIGTERM)
    code = ended_within(going.process, ENDS_WITHIN_S)
    fleet.slow(None)
    fleet.come_to_rest()

    assert code == 0
    took = takeovers(fleet, in_hand, since)
    assert len(took) == len(in_hand) > 0
    assert max(took) < TAKEN_OVER_WITHIN
    assert going.told("job_put_back") >= len(in_hand)
    assert fleet.sql("select distinct failure_count, reason from cgm_private.sync_state") == [(0, None)]
    assert sum(worker.told("job_failed") for worker in fleet.workers) == 0
    assert broken_rules(fleet) == []
    going.start()


def test_each_due_time_is_one_run_of_one_of_them_however_wrong_their_clocks_are(fleet: Fleet) -> None:
    fleet.slow(1)

    def all_take_part() -> bool:
        """A round, in which each token is refreshed, too. One that was just started may come too late for it."""
        fleet.sql("update public.cgm_connections set token_expires_at = now()")
        fleet.make_due()
        fleet.come_to_rest()
        return {entry["machine"] for entry in fleet.journal()} == set(CLOCKS)

    until(all_take_part, "all of them do their share", 90)
    for entry in fleet.journal("state"):
        if entry["machine"]:
            polled_after = datetime.fromisoformat(entry["next_sync_at"]) - datetime.fromisoformat(entry["at"])
            assert POLLED_AFTER[0] < polled_after < POLLED_AFTER[1], entry
    assert {entry["starts"] for entry in fleet.journal()} == {1}
    stats = httpx2.get(f"{fleet.cloud}/control/stats", timeout=30, trust_env=False).json()
    assert stats["refresh_reuse"] == 0
    assert stats["token_calls"]["refresh_token"] % PERSONS == 0
