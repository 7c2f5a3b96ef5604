"""How often we may call a vendor: the calls of an hour, the part kept for people, pauses after a 429. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal

# Whose wish a call is: a person's own request, or what we do by ourselves.
Urgency = Literal["person", "background"]
CALLERS: tuple[Urgency, ...] = ("person", "background")
Why = Literal["paused", "used_up"]
Circuit = Literal["closed", "open", "half_open"]
# A registration of ours at a vendor: route and region.
Place = tuple[str, str]

# A process takes calls in blocks, so that few of them cost a write; a pause reaches every process within this time.
BLOCK_LASTS = timedelta(seconds=2)
LARGEST_BLOCK = 32
FIRST_BLOCK = 2
# Near the end of the budget blocks are small, so that no process holds what another needs.
SHARE_OF_REST = 8
# Calls are counted in the minute in which their block was taken, and may arrive a minute after its end. Counted for
# this long they never exceed the limit in any hour, whether the vendor's hour begins on the clock or with each call.
COUNTED_FOR = timedelta(minutes=62)

SHORTEST_PAUSE_S = 30
# Where the vendor does not say how long.
FIRST_PAUSE_S = 60
LONGEST_PAUSE_S = 3600
LONGEST_PAUSE = timedelta(seconds=LONGEST_PAUSE_S)
# An hour without a 429, and the next one is the first again.
FORGIVEN_AFTER = timedelta(hours=1)
# A probe that has not come back by then gives way to another.
PROBE_LASTS = timedelta(seconds=60)
# While a probe is under way, nobody need wait for longer to ask again.
ASK_AGAIN_S = 5


@dataclass(frozen=True, slots=True)
class Wait:
    """For how many seconds calls stop: where the vendor names none; at least and at most, whatever it names.

    Where it comes again soon, the first and the least of them double each time.
    """

    first_s: int = FIRST_PAUSE_S
    least_s: int = SHORTEST_PAUSE_S
    most_s: int = LONGEST_PAUSE_S


USUAL_WAIT = Wait()
Waits = Mapping[int, Wait]
# By the status of an answer.
USUAL_WAITS: Waits = MappingProxyType({429: USUAL_WAIT})


@dataclass(frozen=True, slots=True)
class CallLimits:
    """``an_hour``: calls that our app may make within any hour. ``for_people``: the share that only people may use.

    ``waits``: after which statuses nobody calls for a while: those that are of us, never of one account.
    ``sign_in_waits``: after which answers to a sign-in nobody signs in for a while; all other calls go on.
    """

    an_hour: int
    for_people: float
    waits: Waits = field(default_factory=lambda: USUAL_WAITS)
    sign_in_waits: Waits = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ValueError where nothing would be left for one of the two."""
        if self.an_hour < 1 or not 0 <= self.for_people < 1:
            raise ValueError("at least one call an hour, and a share from 0 to below 1 for people")

    def most(self, urgency: Urgency) -> int:
        """How many calls there may be within an hour, all taken together, after one for this wish."""
        return self.an_hour if urgency == "person" else self.an_hour - round(self.an_hour * self.for_people)


@dataclass(frozen=True, slots=True)
class Pause:
    """No call before ``until``, then one probe; ``over`` once that was answered. Aware UTC, the database's clock.

    ``strikes``: pauses in a row, each begun by a call after the one before.
    """

    until: datetime
    strikes: int = 1
    probe_until: datetime | None = None
    over: bool = False


@dataclass(frozen=True, slots=True)
class Books:
    """``used``: calls of the last hour (``COUNTED_FOR``), the first of them in the minute of ``oldest``."""

    now: datetime
    used: int
    oldest: datetime | None
    pause: Pause | None


@dataclass(frozen=True, slots=True)
class Grant:
    """``calls`` that may be made now; where none may, ``why`` and for how long not.

    ``probe_of``: this one call ends the pause of that time, if it is answered with anything but a 429.
    """

    calls: int
    why: Why | None = None
    wait_s: float = 0.0
    probe_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """Calls that a process has taken; ``minute``: where they are counted, by the database's clock."""

    calls: int
    minute: datetime


@dataclass(frozen=True, slots=True)
class Paused:
    """A pause as it was written down: for how long from now on, and whether it is a new one."""

    for_s: float
    strikes: int
    began: bool


def grant(books: Books, limits: CallLimits | None, urgency: Urgency, wanted: int) -> Grant:
    """How many of the ``wanted`` calls may be made now. Without limits all, while there is no pause."""
    state = circuit(books.pause, books.now)
    probe_of: datetime | None = None
    if books.pause is not None and state != "closed":
        if state == "open":
            return Grant(0, "paused", _seconds(books.pause.until - books.now))
        if books.pause.probe_until is not None and books.now < books.pause.probe_until:
            return Grant(0, "paused", ASK_AGAIN_S)
        wanted, probe_of = 1, books.pause.until
    if limits is None:
        return Grant(wanted, probe_of=probe_of)
    left = limits.most(urgency) - books.used
    if left < 1:
        free_at = (books.oldest or books.now) + COUNTED_FOR
        return Grant(0, "used_up", max(1.0, _seconds(free_at - books.now)))
    return Grant(min(wanted, max(1, left // SHARE_OF_REST)), probe_of=probe_of)


def circuit(pause: Pause | None, now: datetime) -> Circuit:
    """closed: we call as we need; open: not at all; half_open: one probe at a time."""
    if pause is None or pause.over:
        return "closed"
    return "open" if now < pause.until else "half_open"


def next_block(size: int, used: int, *, in_time: bool) -> int:
    """How many calls to ask for after a block of ``size``; ``in_time``: it was used up before its time was over."""
    return min(2 * size, LARGEST_BLOCK) if in_time else max(1, used)


def sign_in_place(place: Place) -> Place:
    """Where the pauses of a place's sign-ins are kept: a region that no connection has, so that its reads go on."""
    return place[0], f"sign-in {place[1]}"


def pause_s(asked_s: int | None, strikes: int, wait: Wait = USUAL_WAIT) -> int:
    """How long to pause: as the vendor asks, 30 s to one hour; at least 30 s doubling with each strike.

    ``asked_s`` None, where it does not say or not readably: 60 s, doubling. Another ``wait`` has other figures.
    """
    doubled = int(2 ** min(strikes - 1, 10))
    shortest = (wait.first_s if asked_s is None else wait.least_s) * doubled
    return min(max(shortest, asked_s or 0), wait.most_s)


def after_429(pause: Pause | None, now: datetime, asked_s: int | None, took_s: float, wait: Wait = USUAL_WAIT) -> Pause:
    """The pause after a 429, or another answer with a ``wait``, to a call that was sent ``took_s`` ago.

    A call that was sent before the end of the pause that is known already tells of the same trouble: no new strike.
    """
    if pause is None:
        return Pause(now + timedelta(seconds=pause_s(asked_s, 1, wait)))
    if now - timedelta(seconds=took_s) < pause.until:
        until = now + timedelta(seconds=pause_s(asked_s, pause.strikes, wait))
        return replace(pause, until=max(pause.until, until), probe_until=None, over=False)
    strikes = pause.strikes + 1 if now - pause.until < FORGIVEN_AFTER else 1
    return Pause(now + timedelta(seconds=pause_s(asked_s, strikes, wait)), strikes)


def _seconds(wait: timedelta) -> float:
    return wait.total_seconds()
