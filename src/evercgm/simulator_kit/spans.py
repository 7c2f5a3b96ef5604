"""Stretches of readings that a fault is about, given as instants or seen from now; pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

import msgspec

from evercgm.simulator_kit.faults import FaultError

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Hours = Annotated[float, msgspec.Meta(ge=0, le=9000)]
A_SPAN = "a JSON object of start, end, at (instants) or last_hours, in_hours"


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Readings with start <= instant < end, and the moment from which the fault shows.

    Given as instants (RFC 3339 with zone), or from now by the cloud's clock: `last_hours` for start,
    `in_hours` for at. `end` left out: everything since start, up to `at`. `at` left out: now.
    """

    start: Instant | None = None
    end: Instant | None = None
    at: Instant | None = None
    last_hours: Hours | None = None
    in_hours: Hours | None = None

    def back(self) -> timedelta:
        """How long before now it starts, where neither start nor last_hours is given."""
        return timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Settled:
    """A span in instants (UTC)."""

    start: datetime
    end: datetime
    at: datetime

    def covers(self, measured_at: datetime) -> bool:
        """Whether this reading is of the span."""
        return self.start <= measured_at < self.end


def settle(name: str, span: Span, now: datetime) -> Span:
    """Start, end and at filled in, seen from `now`; raises FaultError."""
    try:
        at = span.at or now + timedelta(hours=span.in_hours or 0)
        back = span.back() if span.last_hours is None else timedelta(hours=span.last_hours)
        start = span.start or now - back
    except OverflowError as error:
        raise FaultError(f"fault {name}: reaches beyond the calendar; right is a moment of our time") from error
    end = span.end or max(at, now)
    if end <= start:
        raise FaultError(f"fault {name}: the span ends before it starts; right is start before end")
    return msgspec.structs.replace(span, start=start, end=end, at=at, last_hours=None, in_hours=None)


def settled(span: Span) -> Settled:
    """A span that `settle` has filled in."""
    assert span.start is not None and span.end is not None and span.at is not None  # noqa: S101, PT018
    return Settled(span.start, span.end, span.at)
