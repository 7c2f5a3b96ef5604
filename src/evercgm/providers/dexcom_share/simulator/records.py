"""Share's records made from a glucose curve, in the newer and the older form; pure, no HTTP, no clock."""

from datetime import UTC, datetime, timedelta, timezone

from evercgm.providers.dexcom_share.simulator.cloud import Account
from evercgm.simulator_kit.arrows import rate_at, trend_of, wire_value
from evercgm.simulator_kit.spans import Settled
from evercgm.simulator_kit.trace import Trace

JsonObject = dict[str, object]
A_MS = timedelta(milliseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
# In the order of the numbers that the older form has.
WORDS = (
    "None", "DoubleUp", "SingleUp", "FortyFiveUp", "Flat", "FortyFiveDown", "SingleDown", "DoubleDown",
    "NotComputable", "RateOutOfRange",
)  # fmt: skip


def values(
    account: Account, trace: Trace, now: datetime, since: datetime, *, late: Settled | None, shift: timedelta
) -> list[JsonObject]:
    """What has been uploaded and was measured from `since` up to `now`, newest first, in the newer form.

    `late`: a span that comes at its moment. `shift`: by how much the times differ from the curve's.
    """
    first = trace.count_before(since)
    before = trace.record(first - 1) if first else None
    found: list[JsonObject] = []
    for record in trace.records_between(since, now + INSTANT):
        if late is None or not late.covers(record.measured_at) or late.at <= now:
            trend = trend_of(rate_at(record, before))[0]
            found.append(
                {
                    **times(record.measured_at + shift, account),
                    "Value": wire_value(record.glucose_mg_dl)[0],
                    "Trend": trend[0].upper() + trend[1:],
                }
            )
        before = record
    found.reverse()
    return found


def times(instant: datetime, account: Account) -> JsonObject:
    """The three times of a record, all of one instant, as they are written since 2021."""
    ms = (instant - EPOCH) // A_MS
    return {"WT": f"Date({ms})", "ST": f"Date({ms})", "DT": f"Date({ms}{_zone(account)})"}


def instant_of(record: JsonObject) -> datetime:
    """The instant of a record in the newer form."""
    return EPOCH + int(str(record["ST"])[5:-1]) * A_MS


def date_ahead(record: JsonObject, instant: datetime, account: Account) -> None:
    """Date one record at another instant, in place."""
    record.update(times(instant, account))


def make_legacy(record: JsonObject, account: Account) -> None:
    """As before December 2021, in place: DT's number is the local clock, read as UTC."""
    instant = instant_of(record)
    ms = (instant - EPOCH) // A_MS // 1000 * 1000
    local_ms = ms + account.utc_offset_min * 60_000
    record.update(WT=f"/Date({ms})/", ST=f"/Date({ms})/", DT=f"/Date({local_ms}{_zone(account)})/")
    record["Trend"] = WORDS.index(str(record["Trend"]))


def write_trend(record: JsonObject, how: str) -> None:
    """Another way of writing the arrow, in place."""
    word = str(record["Trend"])
    if how == "number":
        record["Trend"] = WORDS.index(word)
    elif how == "spaced":
        record["Trend"] = "".join(f" {letter}" if letter.isupper() else letter for letter in word).strip().upper()
    else:
        record["Trend"] = "NonComputable" if how == "misspelt" else "TripleUp"


def write_times(record: JsonObject, how: str, account: Account) -> None:
    """Another way of writing the times, in place."""
    instant = instant_of(record)
    if how == "words":
        at = instant.astimezone(timezone(timedelta(minutes=account.utc_offset_min)))
        record.update(WT=at.isoformat(), ST=at.isoformat(), DT=at.isoformat())
    elif how == "no_offset":
        record["DT"] = record["ST"]
    else:
        del record["ST"]
        if how == "no_times":
            del record["WT"]


def spoil(record: JsonObject, how: str) -> None:
    """Make it no reading, in place."""
    record["Value"] = {"text": "high", "null": None, "error_code": 5}[how]


def _zone(account: Account) -> str:
    hours, minutes = divmod(abs(account.utc_offset_min), 60)
    return f"{'-' if account.utc_offset_min < 0 else '+'}{hours:02}{minutes:02}"
