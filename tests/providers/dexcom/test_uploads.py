"""What is new in the simulated cloud: found quickly, and always what a walk over all readings finds."""

from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from evercgm.providers.dexcom.simulator.uploads import Uploads
from evercgm.simulator_kit.spans import Settled
from evercgm.simulator_kit.trace import Trace, TraceRecord

ANCHOR = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
# A reading an hour for half a day, then the same again.
TRACE = Trace("hourly", ANCHOR, tuple(range(-11 * 3600, 1, 3600)), tuple(range(100, 112)))
hours = st.integers(-12, 18)
spans = st.none() | st.builds(
    lambda start, length, at: Settled(ANCHOR + start * HOUR, ANCHOR + (start + length) * HOUR, ANCHOR + at * HOUR),
    hours,
    st.integers(1, 15),
    hours,
)

# Comes at this very moment, an hour after we last asked.
BATCH = Settled(ANCHOR - 8 * HOUR, ANCHOR - 5 * HOUR, ANCHOR + 3 * HOUR)


def walked(uploads: Uploads, since: datetime | None) -> tuple[TraceRecord, TraceRecord] | None:
    readings = TRACE.records_between(TRACE.first_at, uploads.visible_until)
    seen = [one for one in readings if uploads.is_visible(one.measured_at)]
    new = [one for one in seen if since is None or uploads.changed_at(one.measured_at) > since]
    return (new[0], new[-1]) if new else None


@given(
    now=hours, delay=st.integers(0, 3), since=st.none() | hours, late=spans, dump=spans, corrected=spans, renewed=spans
)
@example(now=3, delay=0, since=2, late=BATCH, dump=None, corrected=None, renewed=None)
@example(now=3, delay=0, since=2, late=None, dump=None, corrected=None, renewed=BATCH)
def test_what_is_new_is_what_was_uploaded_or_changed_since(
    now: int,
    delay: int,
    since: int | None,
    late: Settled | None,
    dump: Settled | None,
    corrected: Settled | None,
    renewed: Settled | None,
) -> None:
    uploads = Uploads(ANCHOR + now * HOUR, delay * HOUR, late, dump, corrected, 10, renewed)
    from_then = None if since is None else ANCHOR + since * HOUR

    assert uploads.new_since(TRACE, from_then) == walked(uploads, from_then)


@given(st.none() | spans, spans, hours)
def test_a_reading_is_visible_once_it_is_uploaded(late: Settled | None, dump: Settled | None, now: int) -> None:
    uploads = Uploads(ANCHOR + now * HOUR, HOUR, late, dump)

    for reading in TRACE.records_between(TRACE.first_at, ANCHOR + 20 * HOUR):
        assert uploads.is_visible(reading.measured_at) == (uploads.uploaded_at(reading.measured_at) <= uploads.now)
