"""Lines of a check-up about how busy it is: calls and pauses at vendors, what is due, jobs, the last sync."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from evercgm.actions.checkup import Check
from evercgm.core.limits import Books, CallLimits, Place, circuit, sign_in_place
from evercgm.providers import PROVIDERS
from evercgm.storage import gauges
from evercgm.storage.database import Database
from evercgm.storage.gauges import Load

# What is due is looked for every five seconds: beyond this, nobody works or too few do.
LATE = timedelta(minutes=5)
TOO_LATE = timedelta(hours=1)
# A job ends within minutes, but for years of a first history.
RUNS_LONG = timedelta(minutes=30)
MEND_WORKER = "look whether a worker runs (evercgm serve, or evercgm work), and at its log; more of them work faster"
MEND_CALLS = "syncs go on by themselves; where it happens daily, ask the vendor for a higher limit or poll less often"


async def check_load(db: Database, places: Iterable[Place]) -> list[Check]:
    """A line for each vendor region that is set up, and three about the work in hand."""
    places = sorted(places)
    banned = {sign_in_place(place): place for place in places if _may_ban_sign_ins(place)}
    load = await gauges.look(db, [*places, *banned])
    last = await gauges.last_sync(db)
    if load is None or last is None:
        return [Check("backlog", "unknown", "the database does not tell", "evercgm db migrate")]
    return [
        *(check_calls(place, load.books[place], PROVIDERS[place[0]].calls) for place in places),
        *(line for ban, place in banned.items() for line in check_sign_ins(place, load.books[ban])),
        check_backlog(load),
        check_jobs(load),
        check_last_sync(*last, datetime.now(UTC)),
    ]


def _may_ban_sign_ins(place: Place) -> bool:
    calls = PROVIDERS[place[0]].calls
    return calls is not None and bool(calls.sign_in_waits)


def check_sign_ins(place: Place, books: Books) -> list[Check]:
    """A line while the vendor takes no user name and password from our address."""
    if books.pause is None or circuit(books.pause, books.now) != "open":
        return []
    wait_s = round((books.pause.until - books.now).total_seconds())
    text = f"the vendor takes no password from our address: no sign-in for {wait_s} s more; readings go on"
    return [Check(f"sign-ins/{'/'.join(place)}", "warn", text, "leave it alone: tries make it longer")]


def check_calls(place: Place, books: Books, limits: CallLimits | None) -> Check:
    """Calls of the last hour at a vendor, and whether it is paused."""
    name = f"calls/{'/'.join(place)}"
    text = f"{books.used} in the last hour" if limits is None else f"{books.used} of {limits.an_hour} in the last hour"
    state = circuit(books.pause, books.now)
    if books.pause is not None and state == "open":
        wait_s = round((books.pause.until - books.now).total_seconds())
        return Check(name, "warn", f"the vendor refused a call: paused for {wait_s} s more; {text}", MEND_CALLS)
    if state == "half_open":
        return Check(name, "warn", f"a pause after a refusal is over, its probe is still to come; {text}", MEND_CALLS)
    if limits is not None and books.used >= limits.most("background"):
        return Check(name, "warn", f"{text}: the rest waits for people, background syncs wait", MEND_CALLS)
    return Check(name, "ok", text)


def check_backlog(load: Load) -> Check:
    """Connections whose time has come, and how long the first of them has waited."""
    waited = timedelta(seconds=load.due_for_s)
    if not load.due:
        return Check("backlog", "ok", "no connection is due")
    return _by_age("backlog", f"{load.due} connections are due, the first for {_span(waited)}", waited)


def check_jobs(load: Load) -> Check:
    """The oldest job that waits, and the oldest that runs."""
    waits, runs = timedelta(seconds=load.job_waits_s), timedelta(seconds=load.job_runs_s)
    text = f"the oldest waits for {_span(waits)}" if waits else "none waits"
    text += f", the oldest runs for {_span(runs)}" if runs else ", none runs"
    if waits < LATE and runs >= RUNS_LONG:
        return Check(
            "jobs", "warn", text, "look at the log of its worker; a dead worker's jobs go to another by themselves"
        )
    return _by_age("jobs", text, waits)


def check_last_sync(at: datetime | None, connected: int, now: datetime) -> Check:
    """When a sync last ended well; ``connected``: how many connections work."""
    if not connected:
        return Check("last sync", "ok", "there is nothing to sync")
    if at is None:
        return Check("last sync", "warn", "none of these connections was synced yet", MEND_WORKER)
    ago = max(now - at, timedelta(0))
    return _by_age("last sync", f"one ended well {_span(ago)} ago", ago, late=TOO_LATE / 2)


def _by_age(name: str, text: str, age: timedelta, late: timedelta = LATE) -> Check:
    if age >= TOO_LATE:
        return Check(name, "fail", text, MEND_WORKER)
    return Check(name, "warn", text, MEND_WORKER) if age >= late else Check(name, "ok", text)


def _span(age: timedelta) -> str:
    """In the largest unit that fits."""
    seconds = round(age.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
