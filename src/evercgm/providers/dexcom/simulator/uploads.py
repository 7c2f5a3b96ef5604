"""What of one account has been uploaded, when, and in which version; pure, no HTTP."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from evercgm.simulator_kit.spans import Settled
from evercgm.simulator_kit.trace import Trace, TraceRecord

INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Uploads:
    """As seen at `now` (aware). A record is uploaded `delay` after its instant unless a span holds it longer."""

    now: datetime
    delay: timedelta = timedelta(0)
    late: Settled | None = None
    dump: Settled | None = None
    corrected: Settled | None = None
    add_mg_dl: int = 0
    renewed: Settled | None = None
    keeps_both: bool = False

    @property
    def visible_until(self) -> datetime:
        """No reading from here on can be seen; the one of this very moment can."""
        return self.now - self.delay + INSTANT

    def uploaded_at(self, measured_at: datetime) -> datetime:
        """When the first version of this record came to the cloud."""
        at = measured_at + self.delay
        for span in (self.late, self.dump):
            if span is not None and span.covers(measured_at):
                at = max(at, span.at)
        return at

    def is_visible(self, measured_at: datetime) -> bool:
        """Whether the record has been uploaded."""
        return self.uploaded_at(measured_at) <= self.now

    def changed_at(self, measured_at: datetime) -> datetime:
        """When the version that can be seen now was uploaded."""
        at = self.uploaded_at(measured_at)
        for span in (self.corrected, self.renewed):
            if _shows(span, measured_at, self.now):
                at = max(at, span.at) if span else at
        return at

    def is_from_receiver(self, measured_at: datetime) -> bool:
        """Whether a receiver uploads it, not a phone."""
        return self.dump is not None and self.dump.covers(measured_at)

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
        low, high = 0, trace.count_before(self.visible_until)
        if since is not None:
            spans = [span for span in (self.late, self.dump, self.corrected, self.renewed) if span is not None]
            low = trace.count_before(min([since - self.delay, *(span.start for span in spans)]))

        def counts(record: TraceRecord) -> bool:
            at = record.measured_at
            return self.is_visible(at) and (since is None or self.changed_at(at) > since)

        ordinals = range(low, high)
        first = next((record for n in ordinals if counts(record := trace.record(n))), None)
        last = next((record for n in reversed(ordinals) if counts(record := trace.record(n))), None)
        return (first, last) if first and last else None


def _shows(span: Settled | None, measured_at: datetime, now: datetime) -> bool:
    return span is not None and span.at <= now and span.covers(measured_at)
