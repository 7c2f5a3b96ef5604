"""What of one account has been uploaded, when, and in which version; pure, no HTTP."""

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from evercgm.simulator_kit.spans import Settled
from evercgm.simulator_kit.trace import Trace, TraceRecord

INSTANT = timedelta(microseconds=1)


class Seen(NamedTuple):
    """How a reading can be seen now: its value, whether a receiver brought it, and the wearer's offset from UTC."""

    glucose_mg_dl: int
    by_receiver: bool
    offset: timedelta


@dataclass(frozen=True, slots=True)
class Uploads:
    """As seen at `now` (aware). A record is uploaded `delay` after its instant unless a span holds it longer.

    `offset`: of the zone in which the wearer is at home; `moved_offset`: where they are while `moved` lasts.
    """

    now: datetime
    delay: timedelta = timedelta(0)
    late: Settled | None = None
    dump: Settled | None = None
    corrected: Settled | None = None
    add_mg_dl: int = 0
    renewed: Settled | None = None
    keeps_both: bool = False
    offset: timedelta = timedelta(0)
    moved: Settled | None = None
    moved_offset: timedelta = timedelta(0)

    @property
    def visible_until(self) -> datetime:
        """No reading from here on can be seen; the one of this very moment can."""
        return self.now - self.delay + INSTANT

    def uploaded_at(self, measured_at: datetime) -> datetime:
        """When the first version of this record came to the cloud."""
        at = measured_at + self.delay
        for span in self._holding:
            if span is not None and span.covers(measured_at):
                at = max(at, span.at)
        return at

    @property
    def _holding(self) -> tuple[Settled | None, Settled | None]:
        """What holds readings back, until it comes."""
        return self.late, self.dump

    def is_visible(self, measured_at: datetime) -> bool:
        """Whether the record has been uploaded."""
        if measured_at + self.delay > self.now:
            return False
        return not any(span is not None and span.at > self.now and span.covers(measured_at) for span in self._holding)

    def changed_at(self, measured_at: datetime) -> datetime:
        """When the version that can be seen now was uploaded."""
        at = self.uploaded_at(measured_at)
        for span in (self.corrected, self.renewed):
            if _shows(span, measured_at, self.now):
                at = max(at, span.at) if span else at
        return at

    def seen(self, record: TraceRecord) -> Seen:
        """The present version of a record."""
        at = record.measured_at
        return Seen(self.value_of(record), self.dump is not None and self.dump.covers(at), self.offset_at(at))

    def offset_at(self, measured_at: datetime) -> timedelta:
        """What the wearer's device showed then, from UTC."""
        return self.moved_offset if self.moved is not None and self.moved.covers(measured_at) else self.offset

    def is_renewed(self, measured_at: datetime) -> bool:
        """Whether it has another recordId now."""
        return _shows(self.renewed, measured_at, self.now)

    def value_of(self, record: TraceRecord) -> int:
        """mg/dL, corrected where a correction has come."""
        if not _shows(self.corrected, record.measured_at, self.now):
            return record.glucose_mg_dl
        return max(1, record.glucose_mg_dl + self.add_mg_dl)

    def new_since(self, trace: Trace, since: datetime | None) -> tuple[TraceRecord, TraceRecord] | None:
        """First and last reading that can be seen and whose upload is later than `since`; None if there is none."""

        def counts(ordinal: int) -> bool:
            at = trace.record(ordinal).measured_at
            return self.is_visible(at) and (since is None or self.changed_at(at) > since)

        ends: list[int] = []
        for ordinals in self._touched_since(trace, since):
            ends += itertools.islice(filter(counts, ordinals), 1)
            ends += itertools.islice(filter(counts, reversed(ordinals)), 1)
        return (trace.record(min(ends)), trace.record(max(ends))) if ends else None

    def _touched_since(self, trace: Trace, since: datetime | None) -> list[range]:
        """Where to look for what was uploaded or changed after `since`: in what is young, and in spans shown since."""
        high = trace.count_before(self.visible_until)
        if since is None:
            return [range(high)]
        spans = (self.late, self.dump, self.corrected, self.renewed)
        shown = [span for span in spans if span is not None and since < span.at <= self.now]
        young = range(trace.count_before(since - self.delay), high)
        return [young, *(range(trace.count_before(s.start), min(trace.count_before(s.end), high)) for s in shown)]


def _shows(span: Settled | None, measured_at: datetime, now: datetime) -> bool:
    return span is not None and span.at <= now and span.covers(measured_at)
