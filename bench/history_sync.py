"""Bar 1: 90 days of one person into both tables, by client CPU, against msgspec decode and COPY."""

import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import msgspec

from bench import records
from bench.kit import STREAM, Bar, Bench, Person, Spent, add_person, measured, ms, open_bench, ratio_of, vendor
from evercgm.actions.sync import sync_connection
from evercgm.core.sync import CLOCK_ALLOWANCE, Window, backward_windows
from evercgm.providers import PROVIDERS
from evercgm.storage.embedded import Embedded

ROUNDS = 5
DAYS = 90
REACH = 1.8


class Record(msgspec.Struct):
    """The fields that both tables keep."""

    recordId: str  # noqa: N815
    systemTime: datetime  # noqa: N815
    value: float
    trend: str | None
    trendRate: float | None  # noqa: N815
    transmitterId: str  # noqa: N815
    transmitterTicks: int  # noqa: N815


class Answer(msgspec.Struct):
    """An "egvs" answer."""

    records: list[Record]


async def run(server: Embedded) -> list[Bar]:
    """Ours, plain, ours, plain; each round another person."""
    now = datetime.now(UTC).replace(microsecond=0)
    found = records.records(now - timedelta(days=DAYS) + timedelta(minutes=10), DAYS * 288 - 4)
    first = datetime.fromisoformat(str(found[0]["systemTime"]))
    windows = backward_windows(first, now + CLOCK_ALLOWANCE, PROVIDERS["dexcom"].longest_window)
    answers = {("egvs", urlencode(records.asked(w))): records.egvs(records.within(found, w)) for w in windows}
    answers |= {("dataRange", ""): records.data_range(found), ("devices", ""): records.devices()}
    ours: list[Spent] = []
    plain: list[Spent] = []
    with vendor(answers) as base_url:
        async with open_bench(server, base_url) as bench:
            for _ in range(ROUNDS + 1):
                ours.append(await _ours(bench, now, len(found)))
                plain.append(await _plain(bench, windows))
    return [_bar(ours[1:], plain[1:], len(found))]


async def _ours(bench: Bench, now: datetime, count: int) -> Spent:
    person = await add_person(bench)
    async with measured(bench) as spent:
        result = await sync_connection(
            bench.db, bench.vendors, person.connection_id, trigger="connect", clock=lambda: now
        )
    assert result is not None
    assert result.saved.inserted == count, result
    return spent


async def _plain(bench: Bench, windows: list[Window]) -> Spent:
    person = await add_person(bench)
    async with measured(bench) as spent:
        await bench.get("dataRange", {})
        await bench.get("devices", {})
        for n, window in enumerate(windows):
            answer = msgspec.json.decode(await bench.get("egvs", records.asked(window)), type=Answer)
            # Windows overlap by a second: the record on the seam would come twice.
            edge = windows[n - 1].start if n else None
            await _copy(bench, person, [one for one in answer.records if edge is None or one.systemTime < edge])
    return spent


async def _copy(bench: Bench, person: Person, found: list[Record]) -> None:
    ids = [str(uuid.uuid4()) for _ in found]
    async with bench.plain.transaction(), bench.plain.cursor() as cursor:
        async with cursor.copy(
            'copy public.glucose_readings (id, person_id, "timestamp", value, source, cgm_connection_id) from stdin'
        ) as copy:
            for id_, one in zip(ids, found, strict=True):
                await copy.write_row((id_, person.person_id, one.systemTime, one.value, "cgm", person.connection_id))
        async with cursor.copy(
            "copy cgm_private.reading_details (reading_id, person_id, stream, record_key, trend, trend_rate,"
            " transmitter_hash, transmitter_ticks) from stdin"
        ) as copy:
            for id_, one in zip(ids, found, strict=True):
                await copy.write_row(
                    (
                        *(id_, person.person_id, STREAM, one.recordId, one.trend, one.trendRate),
                        *(one.transmitterId.encode(), one.transmitterTicks),
                    )
                )


def _bar(ours: list[Spent], plain: list[Spent], count: int) -> Bar:
    own_cpu, plain_cpu = ([one.cpu - one.get_cpu for one in way] for way in (ours, plain))
    own_wall, plain_wall = ([one.wall - one.get_wall for one in way] for way in (ours, plain))
    ratio = ratio_of(own_cpu, plain_cpu)
    return Bar(
        f"history sync, {count:,} readings, client CPU",
        f"{ms(own_cpu):.0f} ms",
        f"{ms(plain_cpu):.0f} ms",
        f"{ratio:.2f} x",
        f"<= {REACH} x",
        ratio <= REACH,
        (
            f"wall without GETs {ms(own_wall):.0f} ms against {ms(plain_wall):.0f} ms"
            f" ({ratio_of(own_wall, plain_wall):.2f} x)",
            f"GETs apart: {ms([one.get_wall for one in ours]):.0f} ms wall and"
            f" {ms([one.get_cpu for one in ours]):.0f} ms CPU, against"
            f" {ms([one.get_wall for one in plain]):.0f} and {ms([one.get_cpu for one in plain]):.0f} ms",
        ),
    )
