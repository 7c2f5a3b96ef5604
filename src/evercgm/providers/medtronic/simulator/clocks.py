"""The clocks of one patient, and how they are written: server, phone, pump; pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

EPOCH_TEXT = "1970-01-01T00:00:00.000Z"


@dataclass(frozen=True, slots=True)
class Clocks:
    """Offsets from UTC. Before `changed_at` (aware) the pump's clock was `changed_by` behind what it shows now."""

    pump: timedelta
    phone: timedelta
    changed_at: datetime | None = None
    changed_by: timedelta = timedelta(0)

    def pump_offset(self, at: datetime) -> timedelta:
        """What the pump's clock was ahead of UTC at this moment."""
        before = self.changed_at is not None and at < self.changed_at
        return self.pump - self.changed_by if before else self.pump


def local(at: datetime, offset: timedelta) -> datetime:
    """The wall time, in UTC's place."""
    return at + offset


def epoch_ms(at: datetime) -> int:
    """Milliseconds since 1970."""
    return int(at.timestamp() * 1000)


def written(at: datetime, offset: timedelta, form: str = "none") -> str:
    """The wall time of an instant (aware) at this offset, as text."""
    wall = local(at, offset)
    if form == "words":
        return f"{wall:%b} {wall.day}, {wall:%Y %H:%M:%S}"
    if form == "real_offset":
        return at.astimezone(timezone(offset)).isoformat(timespec="milliseconds")
    ends = {"none": "", "z": ".000Z", "zero_offset": ".000-00:00"}
    return f"{wall:%Y-%m-%dT%H:%M:%S}" + ends[form]
