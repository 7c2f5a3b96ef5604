"""What of one person's curve has come to the simulated cloud: history with its lag, the value of each minute; pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from evercgm.simulator_kit.spans import Settled
from evercgm.simulator_kit.trace import CADENCE, Trace, TraceRecord

REACH = timedelta(hours=12)
# Recorded: the newest point of history was 17 min older than the present value.
HISTORY_LAG = timedelta(minutes=17)
WARM_UP = timedelta(minutes=60)
INSTANT = timedelta(microseconds=1)
MINUTE = timedelta(minutes=1)
LOGBOOK_REACH = timedelta(days=14)
SCAN_EVERY = timedelta(hours=6)
FIRST_SCAN = datetime(2020, 1, 1, 0, 7, tzinfo=UTC)
# The live value of a point differs from its history by up to this: one is smoothed afterwards.
UNSMOOTHED_MG_DL = 3


@dataclass(frozen=True, slots=True)
class Uploads:
    """As seen at ``now``. ``delay``: how late the phone sends. ``offline``: when it did not; what was measured then
    comes at its end. ``changed_at``: a new sensor, which measures nothing for an hour. ``revised``: history there is
    ``add_mg_dl`` higher than it was."""

    now: datetime
    delay: timedelta = timedelta(0)
    offline: Settled | None = None
    changed_at: datetime | None = None
    revised: Settled | None = None
    add_mg_dl: int = 0

    @property
    def until(self) -> datetime:
        """The phone has sent what was measured up to here, this very moment included."""
        sent = self.now - self.delay
        if self.offline is not None and self.offline.covers(self.now):
            sent = min(sent, self.offline.start)
        return sent

    @property
    def has_changed(self) -> bool:
        """Whether the second sensor is worn."""
        return self.changed_at is not None and self.changed_at <= self.now

    def is_measured(self, at: datetime) -> bool:
        """No sensor measures while it warms up."""
        return self.changed_at is None or not self.changed_at <= at < self.changed_at + WARM_UP


@dataclass(frozen=True, slots=True)
class Live:
    """A value as it was shown when it was measured; ``rate`` in mg/dL per minute."""

    measured_at: datetime
    glucose_mg_dl: int
    rate: float


def history(trace: Trace, uploads: Uploads, every: int, reach: timedelta = REACH) -> list[TraceRecord]:
    """What a graph shows, oldest first; an export reaches further."""
    end = uploads.until - HISTORY_LAG + INSTANT
    return [
        TraceRecord(record.measured_at, _revised(record, uploads), record.ordinal)
        for record in trace.records_between(uploads.now - reach, end)
        if record.ordinal % every == 0 and uploads.is_measured(record.measured_at)
    ]


def current(trace: Trace, uploads: Uploads) -> Live | None:
    """The newest value, however old it is."""
    at = _whole_minute(uploads.until)
    while True:
        if uploads.changed_at is not None and not uploads.is_measured(at):
            at = _whole_minute(uploads.changed_at - INSTANT)
        n = trace.count_before(at + INSTANT)
        if n == 0:
            return None
        last = trace.record(n - 1).measured_at
        if at - last < CADENCE:
            return live(trace, at)
        at = max(last, _whole_minute(last + CADENCE - MINUTE))
        if not uploads.is_measured(at):
            continue
        return live(trace, at)


def live(trace: Trace, at: datetime) -> Live:
    """The value of a moment on the curve."""
    value = _between(trace, at)
    rate = (value - _between(trace, at - CADENCE)) / (CADENCE / MINUTE)
    jitter = int(at.timestamp()) // 60 * 7919 % (2 * UNSMOOTHED_MG_DL + 1) - UNSMOOTHED_MG_DL
    return Live(at, max(1, round(value) + jitter), rate)


def scans(trace: Trace, uploads: Uploads) -> Iterator[Live]:
    """A scan each 6 hours of the last 14 days where there was something to scan, newest first."""
    at = uploads.until - (uploads.until - FIRST_SCAN) % SCAN_EVERY
    while at > uploads.now - LOGBOOK_REACH:
        n = trace.count_before(at + INSTANT)
        if n and at - trace.record(n - 1).measured_at < CADENCE and uploads.is_measured(at):
            yield live(trace, at)
        at -= SCAN_EVERY


def _between(trace: Trace, at: datetime) -> float:
    """On a straight line between two points, level beyond a gap."""
    n = trace.count_before(at + INSTANT)
    if n == 0:
        return trace.record(0).glucose_mg_dl
    before, after = trace.record(n - 1), trace.record(n)
    length = after.measured_at - before.measured_at
    if length > 2 * CADENCE:
        return before.glucose_mg_dl
    part = (at - before.measured_at) / length
    return before.glucose_mg_dl + (after.glucose_mg_dl - before.glucose_mg_dl) * part


def _revised(record: TraceRecord, uploads: Uploads) -> int:
    is_revised = uploads.revised is not None and uploads.revised.covers(record.measured_at)
    return max(1, record.glucose_mg_dl + (uploads.add_mg_dl if is_revised else 0))


def _whole_minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)
