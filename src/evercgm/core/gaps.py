"""Where a person's series has holes, and the best-known reason for each; pure, on aware UTC instants."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from evercgm.core.connection import CADENCE, NEEDS_SIGN_IN, UPLOAD_ALLOWANCE
from evercgm.core.verdict import LOOKS_AGAIN, PASSING

Reason = Literal[
    "vendor_delay",
    "not_read_yet",
    "sensor_changed",
    "sensor_error",
    "unreadable",
    "signal_lost",
    "vendor_outage",
    "connection_expired",
    "operator_must_act",
    "paused",
    "worker_down",
    "beyond_vendor_history",
    "not_imported",
    "not_connected",
    "unknown",
]

# Two readings further apart than this many cadences have one missing between them: a sensor's clock has jitter.
HOLE = 1.6
# A change of the sensor takes this long at most; what is longer was a pause of another kind.
LONGEST_CHANGE = timedelta(hours=24)
# A due time that has passed by this much: nobody is there to take it.
OVERDUE = timedelta(minutes=10)
_OPERATOR = ("operator_must_act", "seal_broken", "vendor_changed")
_GRANT = ("sign_in_refused", "sign_in_locked", *LOOKS_AGAIN, *NEEDS_SIGN_IN)

MESSAGES: dict[Reason, str] = {
    "vendor_delay": "Not here yet: this vendor shows readings only after a while.",
    "not_read_yet": "Still being fetched: the history is read from the newest to the oldest.",
    "sensor_changed": "The sensor was changed; a new one warms up first.",
    "sensor_error": "The sensor was there and gave no value.",
    "unreadable": "The vendor sent records that we cannot read. They are kept aside; the operator can see why.",
    "signal_lost": "The vendor has nothing for this time: no sensor worn or no signal. What comes later is filled in.",
    "vendor_outage": "The vendor's cloud does not answer us. We keep trying; no reading is lost.",
    "connection_expired": "Our access had ended. Connect once more, and what the vendor still has is filled.",
    "operator_must_act": "This service needs its operator. What the vendor has is filled afterwards.",
    "paused": "The connection was paused. Resume it, and what the vendor still has is filled.",
    "worker_down": "This service was not fetching. What the vendor has is filled as soon as it does.",
    "beyond_vendor_history": "Older than what this vendor keeps for us. An export file of the vendor's can fill it.",
    "not_imported": "No file was imported for this time. The next one can fill it.",
    "not_connected": "Nothing was connected.",
    "unknown": "We do not know why.",
}
_BY_EXPORT = "Older than what this vendor keeps for us. The CSV file of {export} can fill it: import it here."


@dataclass(frozen=True, slots=True)
class Edge:
    """A reading beside a hole: when, by which connection (None: unlinked), which transmitter (hash; its seconds)."""

    at: datetime
    connection_id: str | None = None
    transmitter: bytes | None = None
    ticks: int | None = None


@dataclass(frozen=True, slots=True)
class Hole:
    """From the reading before to the one after; ``after`` None: there is none, the hole is open to now."""

    before: Edge | None
    after: Edge | None


@dataclass(frozen=True, slots=True)
class SetAside:
    """A record that could not be stored, at the time that it names."""

    at: datetime
    sensor_error: bool


@dataclass(frozen=True, slots=True)
class Trouble:
    """From when to when nothing of a connection was fetched.

    ``reason``: as the run told it; "paused": its person wished so; None: no run at all though it was due.
    """

    start: datetime
    end: datetime
    reason: str | None
    connection_id: str


@dataclass(frozen=True, slots=True)
class Source:
    """What is known of one connection. ``delay``: the vendor's usual one. ``keeps``: its history, None for all of it.

    ``history_start``: how far down the history was read so far, None: not at all; meaningless once ``history_done``.
    ``cadence``: of its sensor. ``import_format``: code of the file that has what the vendor no longer keeps.
    """

    id: str
    status: str
    reason: str | None
    delay: timedelta
    keeps: timedelta | None
    connected_at: datetime
    last_sync_at: datetime | None
    next_sync_at: datetime | None
    history_done: bool
    history_start: datetime | None
    by_file: bool = False
    cadence: timedelta = CADENCE
    import_format: str | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch without readings, from inclusive ``start`` to exclusive ``end``.

    ``cause``: of what the vendor no longer keeps, why it was not fetched in time; ``import_format``: which file has it.
    """

    start: datetime
    end: datetime
    reason: Reason
    cause: Reason | None = None
    import_format: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that may explain holes of one person at ``now``; sources the newest first."""

    sources: Sequence[Source]
    set_aside: Sequence[SetAside]
    troubles: Sequence[Trouble]
    now: datetime


def explain(holes: Iterable[Hole], known: Evidence, start: datetime, end: datetime) -> list[Gap]:
    """Each hole with its reason, the oldest first, cut to [start, end); one may fall into two parts."""
    gaps = [gap for hole in holes for gap in _explain(hole, known)]
    cut = (replace(gap, start=max(gap.start, start), end=min(gap.end, end, known.now)) for gap in gaps)
    return sorted((gap for gap in cut if gap.start < gap.end), key=lambda gap: gap.start)


def message_for(reason: Reason, export: str | None) -> str:
    """A reason as a sentence. ``export``: whose file fills the gap, by its title; None: nobody's, or not known."""
    if reason == "beyond_vendor_history" and export is not None:
        return _BY_EXPORT.format(export=export)
    return MESSAGES[reason]


def _explain(hole: Hole, known: Evidence) -> list[Gap]:
    source = _source_of(hole, known.sources)
    cadence = source.cadence if source else CADENCE
    if hole.after is not None:
        start = hole.before.at + cadence if hole.before else hole.after.at
        return [_closed(hole, source, known, start, hole.after.at)]
    if source is None:
        return [] if hole.before is None else [Gap(hole.before.at + cadence, known.now, "not_connected")]
    if hole.before is not None and known.now - hole.before.at <= cadence * HOLE:
        return []
    start = hole.before.at + cadence if hole.before else source.connected_at
    return _open(start, source, known)


def _open(start: datetime, source: Source, known: Evidence) -> list[Gap]:
    """Up to now: the youngest part is the vendor's delay, where nothing else stops us; before that there is a cause."""
    stopped = _why_stopped(source, known.now)
    if stopped is not None:
        return _out_of_reach(source, start, known.now, stopped)
    lag = source.delay + source.cadence + UPLOAD_ALLOWANCE
    expected = known.now - lag
    if start >= expected:
        return [Gap(start, known.now, "vendor_delay")]
    delayed = Gap(expected, known.now, "vendor_delay")
    cause = _set_aside(known.set_aside, start - source.cadence, expected)
    if cause is None and source.reason in PASSING:
        # Before the outage it was asked for, in vain.
        asked = start if source.last_sync_at is None else min(max(start, source.last_sync_at - lag), expected)
        return [Gap(start, asked, "signal_lost"), Gap(asked, expected, "vendor_outage"), delayed]
    return [Gap(start, expected, cause or ("signal_lost" if _was_read(source) else "not_read_yet")), delayed]


def _out_of_reach(source: Source, start: datetime, end: datetime, cause: Reason) -> list[Gap]:
    """Of a stop that lasts: what the vendor no longer keeps, and what it would still give."""
    if source.keeps is None or end - start <= source.keeps:
        return [Gap(start, end, cause)]
    lost = end - source.keeps
    return [_beyond(source, start, lost, cause), Gap(lost, end, cause)]


def _beyond(source: Source, start: datetime, end: datetime, cause: Reason) -> Gap:
    return Gap(start, end, "beyond_vendor_history", cause, source.import_format)


def _why_stopped(source: Source, now: datetime) -> Reason | None:
    """Why a connection brings nothing at present; None: it works."""
    if source.status == "disconnected":
        return "paused"
    if source.by_file:
        return "not_imported"
    if source.status == "expired" or source.reason in _GRANT:
        return "connection_expired"
    if source.reason == "not_adopted":
        return "unknown"
    if source.reason in _OPERATOR:
        return "operator_must_act"
    if source.next_sync_at is None or source.next_sync_at < now - OVERDUE:
        return "worker_down"
    return "vendor_outage" if source.status == "error" else None


def _was_read(source: Source) -> bool:
    return source.last_sync_at is not None


def _why_closed(hole: Hole, source: Source | None, known: Evidence, start: datetime, end: datetime) -> Reason:
    aside = _set_aside(known.set_aside, start - (source.cadence if source else CADENCE), end)
    if aside is not None:
        return aside
    if _sensor_changed(hole):
        return "sensor_changed"
    if source is None:
        return "unknown"
    if not source.history_done and (source.history_start is None or start < source.history_start):
        return "not_read_yet"
    if source.last_sync_at is None or source.last_sync_at < end:
        return _why_stopped(source, known.now) or "vendor_delay"
    return "signal_lost"


def _closed(hole: Hole, source: Source | None, known: Evidence, start: datetime, end: datetime) -> Gap:
    reason = _why_closed(hole, source, known, start, end)
    if source is not None and reason == "signal_lost":
        lost_by = _lost_by(source, known.troubles, start, end)
        if lost_by is not None:
            return _beyond(source, start, end, lost_by)
    return Gap(start, end, reason)


def _lost_by(source: Source, troubles: Sequence[Trouble], start: datetime, end: datetime) -> Reason | None:
    """What kept us from asking until the vendor had it no longer; None: it was asked in time, or keeps everything."""
    if source.keeps is None:
        return None
    for trouble in troubles:
        # What was measured before it began was asked for then.
        missed = trouble.end - max(start, trouble.start)
        if trouble.connection_id == source.id and trouble.start < end and missed > source.keeps:
            return _of_trouble(trouble)
    return None


def _of_trouble(trouble: Trouble) -> Reason:
    if trouble.reason is None:
        return "worker_down"
    if trouble.reason == "paused":
        return "paused"
    if trouble.reason in _GRANT:
        return "connection_expired"
    return "operator_must_act" if trouble.reason in _OPERATOR else "vendor_outage"


def _set_aside(records: Sequence[SetAside], start: datetime, end: datetime) -> Reason | None:
    inside = [record for record in records if start < record.at < end]
    if not inside:
        return None
    return "sensor_error" if all(record.sensor_error for record in inside) else "unreadable"


def _sensor_changed(hole: Hole) -> bool:
    """Another transmitter after than before, or the same one started anew."""
    before, after = hole.before, hole.after
    if before is None or after is None or before.transmitter is None or after.transmitter is None:
        return False
    if after.at - before.at > LONGEST_CHANGE:
        return False
    if before.transmitter != after.transmitter:
        return True
    return before.ticks is not None and after.ticks is not None and after.ticks < before.ticks


def _source_of(hole: Hole, sources: Sequence[Source]) -> Source | None:
    """The connection of the reading before, else of the one after, else the newest."""
    by_id = {source.id: source for source in sources}
    for edge in (hole.before, hole.after):
        if edge is not None and edge.connection_id in by_id:
            return by_id[edge.connection_id]
    return sources[0] if sources else None
