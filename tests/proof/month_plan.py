"""What happens in the month, to whom and when: all of it from one source of chance. Pure."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from evercgm.core.gaps import Reason
from evercgm.providers.dexcom.simulator.cloud import Account
from evercgm.providers.dexcom_share.simulator.cloud import Account as ShareAccount

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# The clocks of Europe and of the United States go back in it; and it is past, whatever the machine's own clock says.
BEGAN = datetime(2025, 10, 10, tzinfo=UTC)
DAYS, QUIET_DAYS = 30, 8
ENDS = BEGAN + (DAYS + QUIET_DAYS) * DAY
STEP = 4 * HOUR
RECORDINGS = ("hall2018_2133-018", "hall2018_2133-035")
Deed = Literal["revoke", "password", "disconnect", "connect"]
# It opens nothing else.
PASSWORD = "evercgm-month"
# How long a person takes to sign in again after we had to ask for it.
HESITATION = 30 * HOUR


@dataclass(frozen=True)
class Trouble:
    """From a day of the month on, for some hours. ``fault`` None: nobody of ours runs.

    ``told``: as what a person's newest stretch without readings is explained when it ends.
    """

    day: float
    hours: float
    fault: str | None
    value: object = True
    path: str | None = None
    told: Reason | None = None

    @property
    def start(self) -> datetime:
        return BEGAN + self.day * DAY

    def lasts(self, at: datetime) -> bool:
        """Whether it is on at that moment."""
        return self.start <= at < self.start + self.hours * HOUR


TROUBLES = (
    Trouble(3.2, 10, "server_error", 503, told="vendor_outage"),
    Trouble(6.1, 30, None, told="worker_down"),
    Trouble(9.5, 6, "html", told="operator_must_act"),
    Trouble(13.1, 4, "rate_limited", "3600", told="vendor_outage"),
    Trouble(13.8, 8, "empty", path="egvs", told="signal_lost"),
    Trouble(16.7, 7, "cut_body", "dropped", told="vendor_outage"),
    Trouble(19.5, 96, None, told="worker_down"),
    Trouble(27.0, 6, "unknown_enums", path="egvs"),
    # Clocks of the wearers' devices, as the vendor writes them.
    Trouble(5.0, 24, "display_time_text", "no_zone", path="egvs"),
    Trouble(11.0, 48, "system_time_text", "no_zone", path="egvs"),
    Trouble(21.0, 24, "system_time_text", "half_hour_offset", path="egvs"),
)
# Beside those, all the time: a part of the calls fails, and devices date a reading ahead. Fault, value, limits.
EVERY_DAY: tuple[tuple[str, object, dict[str, object]], ...] = (
    ("server_error", 500, {"probability": 0.03, "path": "dataRange"}),
    ("unauthorized", "apigee", {"count": 2}),
    ("future_time", 48, {"count": 1, "path": "egvs"}),
)
# Where the wearers live: minutes from UTC, and from when on it is something else there.
HOMES = (
    (120, datetime(2025, 10, 26, 1, tzinfo=UTC), 60),
    (-420, datetime(2025, 11, 2, 9, tzinfo=UTC), -480),
)
TRAVELLERS_HOME, AWAY = 0, 330
OFFSETS = {120, 60, -420, -480, TRAVELLERS_HOME, AWAY}


def accounts(count: int) -> list[Account]:
    """One for each wearer, on the shipped recordings in turn."""
    return [
        Account(username(n), f"wearer {n}", RECORDINGS[n % len(RECORDINGS)], utc_offset_min=_home(n))
        for n in range(count)
    ]


def share_accounts(count: int) -> list[ShareAccount]:
    """The same people, as far as they have the second way in; the clock of it follows none of their journeys."""
    return [
        ShareAccount(username(n), PASSWORD, f"wearer {n}", RECORDINGS[n % len(RECORDINGS)])
        for n in range(count)
        if has_share(n)
    ]


def has_share(number: int) -> bool:
    """One in five, so that each kind of deed meets it."""
    return number % 5 == 3


def username(number: int) -> str:
    """The account of a wearer."""
    return f"wearer{number}"


def _home(number: int) -> int:
    return HOMES[number % 3][0] if number % 3 < len(HOMES) else TRAVELLERS_HOME


def steps() -> Iterator[datetime]:
    """The moments at which something happens, to the last quiet one."""
    at = BEGAN
    while at < ENDS:
        at += STEP
        yield at


def deeds_of(number: int, chance: random.Random) -> dict[datetime, Deed]:
    """A person in two has a consent that ends, changes the password, or disconnects for most of a day."""
    at = BEGAN + chance.randrange(5 * DAY // STEP, 22 * DAY // STEP) * STEP
    plans: tuple[dict[datetime, Deed], ...] = (
        {at: "revoke"},
        {at: "password"},
        {at: "disconnect", at + 5 * STEP: "connect"},
    )
    return plans[number % 6] if number % 6 < len(plans) else {}


def faults_of(number: int, chance: random.Random) -> Iterator[tuple[str, dict[str, object]]]:
    """Late batches, a receiver's fortnight, corrections, other ids, other zones: nothing over 30 days late."""
    yield "late_batch", _span(chance, hours=chance.randint(1, 60), late_days=chance.uniform(0.3, 26))
    corrected = _span(chance, hours=chance.randint(1, 12), late_days=chance.uniform(0.1, 20))
    yield "corrected_values", corrected
    yield "new_record_ids", {**_renewed(number, chance, corrected), "both": number % 2 == 0}
    if number % 3 == 0:
        yield "receiver_dump", _span(chance, hours=14 * 24, late_days=chance.uniform(0.1, 15))
    yield "zone_change", _move(number, chance)


def _span(chance: random.Random, *, hours: float, late_days: float) -> dict[str, object]:
    """Readings of some hours that come, or change, so many days after the last of them."""
    latest = DAYS - late_days - hours / 24
    start = BEGAN + chance.uniform(0, max(latest, 0.1)) * DAY
    end = start + hours * HOUR
    return _told(start, end, end + late_days * DAY)


def _renewed(number: int, chance: random.Random, corrected: dict[str, object]) -> dict[str, object]:
    """Any six hours; for one in five those that are corrected as well, before or after that."""
    if number % 5 != 0:
        return _span(chance, hours=6, late_days=chance.uniform(0.1, 20))
    return {**corrected, "at": (BEGAN + chance.uniform(1, DAYS) * DAY).isoformat()}


def _move(number: int, chance: random.Random) -> dict[str, object]:
    if number % 3 < len(HOMES):
        _, start, offset_min = HOMES[number % 3]
        return {**_told(start, ENDS + DAY, start), "utc_offset_min": offset_min}
    start = BEGAN + chance.uniform(2, 20) * DAY
    return {**_told(start, start + 6 * DAY, start), "utc_offset_min": AWAY}


def _told(start: datetime, end: datetime, at: datetime) -> dict[str, object]:
    return {"start": start.isoformat(), "end": end.isoformat(), "at": at.isoformat()}
