"""Each fault of the simulated Dexcom cloud: what a client meets, and what the truth stays."""

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from test_simulator import ANCHOR, CALLBACK, START, Cloud, started, walked_through, window

from evercgm.providers.dexcom.simulator.faults import KINDS
from evercgm.providers.dexcom.simulator.quirks import TIME_TEXTS, time_text
from evercgm.simulator_kit.answers import ConnectionCut
from evercgm.simulator_kit.faults import FaultError, read_text

FIXTURES = Path(__file__).parent / "fixtures"
DOCS = Path(__file__).parents[3] / "docs" / "simulators.md"
DAY = timedelta(days=1)
Record = dict[str, Any]


class Faulty(Cloud):
    """A client with a token of User7, and the control path."""

    access = ""

    async def later(self, by: timedelta) -> None:
        self.now += by
        self.access = (await self.tokens())["access_token"]

    async def set(self, name: str, value: object, **limits: object) -> list[Record]:
        answer = await self.http.post("/control/faults", json={"set": {name: value}, **limits})
        assert answer.status_code == 200, answer.text
        faults: list[Record] = answer.json()["faults"]
        return faults

    async def ask(self, kind: str = "egvs", back: timedelta = DAY, **query: str) -> httpx2.Response:
        asked = {**window(self.now - back, self.now), **query} if kind not in ("dataRange", "devices") else query
        return await self.data(kind, self.access, **asked)

    async def records(self, kind: str = "egvs", back: timedelta = DAY) -> list[Record]:
        answer = await self.ask(kind, back)
        assert answer.status_code == 200, answer.text
        found: list[Record] = answer.json()["records"]
        return found

    async def truth(self, back: timedelta = DAY) -> dict[str, int]:
        asked = {"start": (self.now - back).isoformat()}
        rows = (await self.http.get("/control/accounts/User7/truth", params=asked)).json()
        return {row["systemTime"]: row["value"] for row in rows}


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Faulty]:
    cloud = Faulty(tmp_path / "data")
    cloud.open()
    cloud.access = (await cloud.tokens())["access_token"]
    yield cloud
    await cloud.close()


def shown(record: Record) -> datetime:
    """The instant of a displayTime with its offset."""
    return datetime.fromisoformat(record["displayTime"]).astimezone(UTC)


def values(records: list[Record]) -> dict[str, int]:
    return {record["systemTime"].removesuffix("Z") + "Z": record["value"] for record in records}


async def test_what_is_on_is_told_and_cleared(cloud: Faulty) -> None:
    await cloud.set("server_error", 503, count=2, path="egvs")
    await cloud.ask()

    told = (await cloud.http.get("/control/faults")).json()["faults"]
    assert told == [
        {"name": "server_error", "value": 503, "count": 1, "probability": 1.0, "path": "egvs", "username": None}
        | {"hits": 1}
    ]  # fmt: skip
    assert (await cloud.http.post("/control/faults", json={})).json() == {"faults": []}
    await cloud.set("forbidden", True)
    await cloud.http.delete("/control/faults", params={"name": "slow"})
    assert (await cloud.ask()).status_code == 403
    await cloud.http.delete("/control/faults")
    assert (await cloud.ask()).status_code == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"set": {"snow": 1}}, "fault 'snow': there is none"),
        ({"set": {"slow": "long"}}, "fault slow: Expected"),
        ({"set": {"slow": 1}, "path": "nowhere"}, "fault slow: path"),
        ({"set": {"slow": 1}, "username": "Bob"}, "fault slow: user 'Bob'"),
        ({"set": {"second_account": "Bob"}}, "fault second_account: 'Bob'; right is User7"),
        ({"set": {"late_batch": {"start": "2026-03-01T00:00:00"}}}, "fault late_batch:"),
        ({"set": {"late_batch": {"in_hours": 1}}, "count": 1}, "fault late_batch: is not about single calls"),
        ({"set": {"consent_revoked": "at_once"}, "count": 1}, "fault consent_revoked: is not about single calls"),
        ({"sett": {}}, "Object"),
    ],
)
async def test_a_wrong_fault_is_refused_and_nothing_is_on(cloud: Faulty, body: Record, said: str) -> None:
    answer = await cloud.http.post("/control/faults", json=body)

    assert answer.status_code == 400
    assert answer.json()["error"].startswith(said)
    assert cloud.app.state.cloud.faults.active == []


async def test_a_delay_of_three_hours_hides_the_newest(cloud: Faulty) -> None:
    await cloud.set("delay_hours", 3)

    newest = (await cloud.records())[0]["systemTime"]
    assert "2026-03-01T08:5" <= newest <= "2026-03-01T09:03:20Z"


async def test_a_late_batch_comes_below_the_cursor_and_by_its_upload_time(cloud: Faulty) -> None:
    start, end = (START - timedelta(hours=6)).isoformat(), (START - timedelta(hours=2)).isoformat()
    await cloud.set("late_batch", {"start": start, "end": end, "in_hours": 24})
    held = await cloud.records()
    assert len(held) < len(await cloud.truth())
    assert not any("2026-03-01T06:10" <= record["systemTime"] < "2026-03-01T10:00" for record in held)

    await cloud.later(DAY)
    since = f"{START + timedelta(hours=23, minutes=59):%Y-%m-%dT%H:%M:%SZ}"
    new = (await cloud.ask("dataRange", lastSyncTime=since)).json()["egvs"]
    assert new["start"]["systemTime"] < "2026-03-01T06:10"
    assert values(await cloud.records(back=2 * DAY)) == await cloud.truth(2 * DAY)


async def test_a_batch_without_end_holds_all_that_comes_until_then(cloud: Faulty) -> None:
    await cloud.set("late_batch", {"last_hours": 1, "in_hours": 5})
    await cloud.later(timedelta(hours=4))
    assert (await cloud.records())[0]["systemTime"] < "2026-03-01T11:03:20Z"

    await cloud.later(timedelta(hours=1))
    assert values(await cloud.records()) == await cloud.truth()


async def test_a_receiver_dump_comes_at_once_without_offsets(cloud: Faulty) -> None:
    await cloud.later(timedelta(days=16))
    await cloud.set("receiver_dump", {"days": 14, "in_hours": 1})
    assert await cloud.records() == []

    await cloud.later(timedelta(hours=1))
    found = await cloud.records(back=timedelta(days=14, hours=1))
    dumped = [record for record in found if record["displayDevice"] == "receiver"]
    assert len(dumped) == len(found) > 3000
    shape = json.loads((FIXTURES / "egvs_g6_receiver.json").read_text())["records"][0]
    assert set(dumped[0]) == set(shape)
    assert not any(record["systemTime"].endswith("Z") or "-08:00" in record["displayTime"] for record in dumped)
    assert values(found) == await cloud.truth(timedelta(days=14, hours=1))


async def test_a_correction_keeps_the_id_changes_the_value_and_is_the_truth(cloud: Faulty) -> None:
    before = {record["recordId"]: record["value"] for record in await cloud.records()}
    await cloud.set("corrected_values", {"last_hours": 6, "add_mg_dl": 7})

    after = {record["recordId"]: record["value"] for record in await cloud.records()}
    assert before.keys() == after.keys()
    assert {after[key] - before[key] for key in before} == {0, 7}
    assert values(await cloud.records()) == await cloud.truth()


@pytest.mark.parametrize(("both", "copies"), [(False, 1), (True, 2)])
async def test_the_same_reading_comes_with_a_new_id(cloud: Faulty, both: bool, copies: int) -> None:
    before = await cloud.records()
    await cloud.set("new_record_ids", {"last_hours": 48, "both": both})

    after = await cloud.records()
    new = {record["recordId"] for record in after} - {record["recordId"] for record in before}
    assert (len(new), len(after)) == (len(before), copies * len(before))
    assert {(r["transmitterId"], r["transmitterTicks"]) for r in after} == {
        (r["transmitterId"], r["transmitterTicks"]) for r in before
    }
    assert values(after) == await cloud.truth()


async def test_in_another_zone_the_device_shows_its_time_and_nothing_else_changes(cloud: Faulty) -> None:
    plain = await cloud.records()
    await cloud.set("zone_change", {"last_hours": 6, "in_hours": 2, "utc_offset_min": 330})

    there = await cloud.records()
    moved = [record for record in there if record["displayTime"].endswith("+05:30")]
    assert 60 < len(moved) <= 72
    assert {record["displayTime"][-6:] for record in there} == {"+05:30", "-08:00"}
    assert min(record["systemTime"] for record in moved) >= "2026-03-01T06:03:20Z"
    assert [shown(record) for record in there] == [shown(record) for record in plain]
    assert values(there) == await cloud.truth()
    assert {record["displayTime"][-6:] for record in await cloud.records("events")} == {"+05:30", "-08:00"}
    await cloud.later(timedelta(hours=4))
    newest = (await cloud.records())[0]
    assert newest["displayTime"].endswith("-08:00")


async def test_in_another_zone_times_are_written_in_every_way_there_is(cloud: Faulty) -> None:
    await cloud.set("zone_change", {"last_hours": 48, "in_hours": 2, "utc_offset_min": 330})
    await cloud.set("display_time_text", "no_zone")
    await cloud.set("system_time_text", "offset")
    await cloud.set("future_time", 48, count=1)

    ahead, *rest = await cloud.records()
    assert (ahead["systemTime"], ahead["displayTime"]) == ("2026-03-03T17:33:20+05:30", "2026-03-03T17:33:20")
    assert {(record["systemTime"][:19], record["systemTime"][19:]) for record in rest} == {
        (record["displayTime"], "+05:30") for record in rest
    }


async def test_records_come_in_any_order(cloud: Faulty) -> None:
    newest = await cloud.records()
    await cloud.set("order", "oldest")
    assert await cloud.records() == newest[::-1]

    await cloud.set("order", "shuffled")
    shuffled = await cloud.records()
    assert shuffled not in (newest, newest[::-1])
    assert sorted(shuffled, key=lambda r: r["systemTime"], reverse=True) == newest


async def test_an_inclusive_end_and_a_shorter_window(cloud: Faulty) -> None:
    to_the_anchor = window(ANCHOR - timedelta(minutes=1), ANCHOR)
    await cloud.set("end_inclusive", True)
    assert len((await cloud.data("egvs", cloud.access, **to_the_anchor)).json()["records"]) == 1

    await cloud.set("window_limit_days", 7)
    asked = [(await cloud.ask(back=timedelta(days=days))).status_code for days in (7, 8)]
    assert asked == [200, 400]


@pytest.mark.parametrize(("form", "statuses"), [("with_z", [200, 400]), ("without_z", [400, 200])])
async def test_last_sync_time_in_the_other_form_is_refused(cloud: Faulty, form: str, statuses: list[int]) -> None:
    await cloud.set("last_sync_form", form)

    texts = ("2026-03-01T00:00:00Z", "2026-03-01T00:00:00")
    assert [(await cloud.ask("dataRange", lastSyncTime=text)).status_code for text in texts] == statuses


async def test_a_last_sync_time_over_100_days_old_is_answered_wrongly(cloud: Faulty) -> None:
    await cloud.set("last_sync_defect", True)

    def text(days: int) -> str:
        return f"{START - timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"

    assert (await cloud.ask("dataRange", lastSyncTime=text(99))).json()["egvs"]
    assert (await cloud.ask("dataRange", lastSyncTime=text(101))).json()["egvs"] is None


async def test_empty_answers(cloud: Faulty) -> None:
    await cloud.set("empty", True)

    assert [await cloud.records(kind) for kind in ("egvs", "events", "devices")] == [[], [], []]
    assert (await cloud.ask("dataRange")).json()["egvs"] is None


async def test_unknown_words_in_enums_and_units_only_when_named(cloud: Faulty) -> None:
    await cloud.set("unknown_enums", True)
    newest = (await cloud.records())[0]
    assert (newest["trend"], newest["displayDevice"], newest["unit"]) == ("tripleUp", "spectacles", "mg/dL")

    await cloud.set("unknown_enums", ["unit"])
    newest = (await cloud.records())[0]
    assert (newest["displayDevice"], newest["unit"]) == ("iOS", "furlongs")


async def test_times_are_written_in_every_way(cloud: Faulty) -> None:
    plain = await cloud.records()
    await cloud.set("system_time_text", "every")
    await cloud.set("display_time_text", "no_zone")

    odd = await cloud.records()
    assert len({record["systemTime"] for record in odd}) > len(odd) // 2
    assert {"", "yesterday", "0001-01-01T00:00:00"} <= {record["systemTime"] for record in odd}
    assert odd[0]["displayTime"] == plain[0]["displayTime"].removesuffix("-08:00")
    assert [record["recordId"] for record in odd] == [record["recordId"] for record in plain]


# One row a case of fixtures/time_parsing.json: the kind, the instant, the offset, and whether it is a displayTime.
WRITTEN = [
    ("z", "2025-01-30T23:49:55Z", -480, False),
    ("offset", "2025-01-30T23:49:55Z", -480, True),
    ("no_seconds", "2021-02-03T14:15:00Z", -480, False),
    ("offset_with_seconds", "2025-01-31T23:54:57Z", -420, True),
    ("fraction", "2025-02-01T15:49:01Z", -480, False),
    ("no_zone", "2021-06-01T01:10:08Z", -480, False),
    ("blank", "2025-02-01T07:54:01Z", -480, False),
    ("no_leading_zeros", "2025-02-01T07:04:01Z", -480, False),
    ("offset_without_colon", "2025-01-30T23:49:55Z", -480, True),
    ("half_hour_offset", "2025-01-30T23:49:55Z", -480, True),
    ("zero", "2025-01-30T23:49:55Z", -480, False),
    ("empty", "2025-01-30T23:49:55Z", -480, False),
    ("no_time", "2025-01-30T23:49:55Z", -480, False),
]


def test_every_time_text_of_the_fixture_can_be_written() -> None:
    expected = [case["text"] for case in json.loads((FIXTURES / "time_parsing.json").read_text())]

    written = [
        time_text(kind, datetime.fromisoformat(at), timedelta(minutes=offset), local)
        for kind, at, offset, local in WRITTEN
    ]
    assert written == expected
    assert {kind for kind, *_ in WRITTEN} | {"cut_short"} == set(TIME_TEXTS)


async def test_the_newest_reading_is_dated_ahead_once(cloud: Faulty) -> None:
    plain = await cloud.records()
    await cloud.set("future_time", 48, count=1)

    ahead = await cloud.records()
    assert ahead[0] == plain[0] | {
        "systemTime": "2026-03-03T12:03:20Z",
        "displayTime": "2026-03-03T04:03:20-08:00",
    }
    assert await cloud.records() == plain


async def test_a_code_lives_as_long_as_is_set(cloud: Faulty) -> None:
    await cloud.set("code_life_s", 5)
    code = (await cloud.consent())["code"]
    cloud.now += timedelta(seconds=5)

    assert (await cloud.token_for_code(code)).json() == {"error": "invalid_grant"}


async def test_a_token_lives_as_long_as_is_set(cloud: Faulty) -> None:
    await cloud.set("expires_in", 60)
    cloud.access = (await cloud.tokens())["access_token"]
    cloud.now += timedelta(seconds=60)

    assert (await cloud.ask()).status_code == 401


@pytest.mark.parametrize(("how", "status"), [("refuse", 200), ("revoke_family", 400)])
async def test_reuse_ends_the_family_or_not(cloud: Faulty, how: str, status: int) -> None:
    await cloud.set("refresh_reuse", how)
    first = await cloud.tokens()
    second = (await cloud.refresh(first["refresh_token"])).json()

    assert (await cloud.refresh(first["refresh_token"])).json() == {"error": "invalid_grant"}
    assert (await cloud.refresh(second["refresh_token"])).status_code == status


async def test_a_lost_refresh_has_rotated_all_the_same(cloud: Faulty) -> None:
    first = await cloud.tokens()
    await cloud.set("refresh_answer_lost", "504", count=1)
    assert (await cloud.refresh(first["refresh_token"])).status_code == 504
    assert (await cloud.refresh(first["refresh_token"])).json() == {"error": "invalid_grant"}

    second = await cloud.tokens()
    await cloud.set("refresh_answer_lost", "cut", count=1)
    with pytest.raises(ConnectionCut):
        await cloud.refresh(second["refresh_token"])
    assert (await cloud.refresh(second["refresh_token"])).json() == {"error": "invalid_grant"}


async def test_the_token_endpoint_refuses_and_rotates_nothing(cloud: Faulty) -> None:
    first = await cloud.tokens()
    for error, status in (("invalid_grant", 400), ("unauthorized_client", 400), ("html", 502)):
        await cloud.set("token_error", error, count=1, username="User7")
        assert (await cloud.refresh(first["refresh_token"])).status_code == status

    assert (await cloud.refresh(first["refresh_token"])).status_code == 200


ODD_ANSWERS: list[tuple[str, Callable[[httpx2.Response], object], object]] = [
    ("html", lambda a: a.text[:6], "<html>"),
    ("no_refresh_token", lambda a: "refresh_token" in a.json(), False),
    ("no_access_token", lambda a: "access_token" in a.json(), False),
    ("expires_in_text", lambda a: a.json()["expires_in"], "abc"),
    ("expires_in_zero", lambda a: a.json()["expires_in"], 0),
    ("expires_in_negative", lambda a: a.json()["expires_in"], -1),
    ("expires_in_huge", lambda a: a.json()["expires_in"], 1_000_000_000),
    ("oversize", lambda a: len(a.content) > 5_000_000, True),
    ("utf16", lambda a: a.content[:2], "\ufeff".encode("utf-16-le")),
]


@pytest.mark.parametrize(("odd", "look", "expected"), ODD_ANSWERS)
async def test_odd_token_answers_have_rotated(
    cloud: Faulty, odd: str, look: Callable[[httpx2.Response], object], expected: object
) -> None:
    first = await cloud.tokens()
    await cloud.set("token_answer", odd, count=1)

    answer = await cloud.refresh(first["refresh_token"])
    assert (answer.status_code, look(answer)) == (200, expected)
    assert (await cloud.refresh(first["refresh_token"])).json() == {"error": "invalid_grant"}


@pytest.mark.parametrize("status", [400, 401])
async def test_a_rotated_secret_fits_nobody(cloud: Faulty, status: int) -> None:
    tokens = await cloud.tokens()
    await cloud.set("client_secret_rotated", status)

    answer = await cloud.refresh(tokens["refresh_token"])
    assert (answer.status_code, answer.json()) == (status, {"error": "invalid_client"})
    assert (await cloud.ask()).status_code == 200
    await cloud.http.post("/control/faults", json={})
    assert (await cloud.refresh(tokens["refresh_token"])).status_code == 200


async def test_another_account_consents_at_the_next_login(cloud: Faulty) -> None:
    mine = (await cloud.ask("dataRange")).json()["userId"]
    await cloud.set("second_account", "User6", count=1)

    cloud.access = (await cloud.tokens("User7"))["access_token"]
    assert (await cloud.ask("dataRange")).json()["userId"] != mine
    cloud.access = (await cloud.tokens("User7"))["access_token"]
    assert (await cloud.ask("dataRange")).json()["userId"] == mine


async def test_what_one_region_gave_means_nothing_in_another(cloud: Faulty) -> None:
    tokens, code = await cloud.tokens(), (await cloud.consent())["code"]
    await cloud.set("region", "eu")
    assert (await cloud.ask()).status_code == 401
    assert (await cloud.refresh(tokens["refresh_token"])).json() == {"error": "invalid_grant"}
    assert (await cloud.token_for_code(code)).json() == {"error": "invalid_grant"}
    european = await cloud.tokens()
    assert (await cloud.data("dataRange", european["access_token"])).status_code == 200

    await cloud.http.post("/control/faults", json={})
    assert (await cloud.ask()).status_code == 200
    assert (await cloud.token_for_code(code)).status_code == 200
    assert (await cloud.refresh(european["refresh_token"])).json() == {"error": "invalid_grant"}


@pytest.mark.parametrize(
    ("fault", "value", "data_status"),
    [("consent_revoked", "at_once", 401), ("consent_revoked", "lives_on", 200), ("password_changed", True, 200)],
)
async def test_a_withdrawn_consent_ends_the_tokens_of_this_user(
    cloud: Faulty, fault: str, value: object, data_status: int
) -> None:
    tokens, other = await cloud.tokens(), await cloud.tokens("User6")
    done = await cloud.set(fault, value, username="User7")
    assert done[0]["hits"] >= 2

    assert (await cloud.data("dataRange", tokens["access_token"])).status_code == data_status
    assert (await cloud.refresh(tokens["refresh_token"])).json() == {"error": "invalid_grant"}
    assert (await cloud.refresh(other["refresh_token"])).status_code == 200
    again = await cloud.tokens()
    assert (await cloud.refresh(again["refresh_token"])).status_code == 200


@pytest.mark.parametrize(
    ("fault", "value", "status", "headers"),
    [
        ("unauthorized", "apigee", 401, {}),
        ("unauthorized", "empty", 401, {"content-length": "0"}),
        ("forbidden", True, 403, {}),
        ("client_error", 422, 422, {}),
        ("rate_limited", "120", 429, {"retry-after": "120"}),
        ("rate_limited", "", 429, {"retry-after": None}),
        ("calls_per_hour", {"limit": 0}, 429, {"retry-after": "3600"}),
        ("server_error", 503, 503, {"content-type": "text/html; charset=utf-8"}),
        ("html", True, 200, {"content-type": "text/html; charset=utf-8"}),
    ],
)
async def test_refusals_strike_once(
    cloud: Faulty, fault: str, value: object, status: int, headers: dict[str, str | None]
) -> None:
    await cloud.set(fault, value, count=1, path="egvs", username="User7")

    struck = await cloud.ask()
    assert struck.status_code == status
    assert {name: struck.headers.get(name) for name in headers} == headers
    assert (await cloud.ask()).json()["recordType"] == "egv"


async def test_too_many_calls_within_an_hour_wait_for_the_oldest(cloud: Faulty) -> None:
    await cloud.set("calls_per_hour", {"limit": 2})

    def moved(minutes: int) -> None:
        cloud.now += timedelta(minutes=minutes)

    assert (await cloud.ask()).status_code == 200
    moved(20)
    assert (await cloud.ask()).status_code == 200
    refused = await cloud.ask()
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2400")
    moved(40)
    assert (await cloud.ask()).status_code == 200


async def test_the_login_page_is_struck_only_when_named(cloud: Faulty) -> None:
    await cloud.set("server_error", 500)
    assert (await cloud.consent())["code"]

    await cloud.set("server_error", 500, path="login")
    assert (await cloud.http.get("/v3/oauth2/login")).status_code == 500


async def test_an_answer_is_slow_or_cut_short(cloud: Faulty) -> None:
    await cloud.set("slow", 0.05, count=1)
    before = time.monotonic()
    await cloud.ask()
    assert time.monotonic() - before >= 0.05

    whole = (await cloud.ask()).content
    await cloud.set("cut_body", "short", count=1)
    cut = await cloud.ask()
    assert (cut.content, cut.headers["content-length"]) == (whole[: len(whole) // 2], str(len(whole)))
    await cloud.set("cut_body", "dropped", count=1)
    with pytest.raises(ConnectionCut):
        await cloud.ask()


@pytest.mark.parametrize("kind", ["events", "calibrations", "alerts", "devices"])
async def test_other_records_have_the_shape_of_the_fixtures(cloud: Faulty, kind: str) -> None:
    expected: list[Record] = json.loads((FIXTURES / f"{kind}.json").read_text())["records"]

    found = await cloud.records(kind, timedelta(days=7))
    assert found
    assert {frozenset(record) for record in found} <= {frozenset(record) for record in expected}
    for name in expected[0]:
        assert {type(r[name]) for r in found} <= {type(r[name]) for r in expected}, name
    assert await cloud.records(kind, timedelta(days=7)) == found


async def test_the_clock_is_moved_and_a_restart_does_not_jump_back(cloud: Faulty) -> None:
    assert (await cloud.http.get("/control/clock")).json() == {"now": "2026-03-01T12:03:20Z", "shift_s": 0.0}
    moved = await cloud.http.post("/control/clock", json={"advance_s": 7200})
    assert moved.json() == {"now": "2026-03-01T14:03:20Z", "shift_s": 7200.0}
    assert (await cloud.ask()).status_code == 401
    assert max(await cloud.truth()) > "2026-03-01T13:5"

    await cloud.set("corrected_values", {"last_hours": 1})
    truth = await cloud.truth()
    await cloud.http.aclose()
    cloud.app.state.cloud.state.close()
    cloud.open()
    assert (await cloud.http.get("/control/clock")).json()["now"] == "2026-03-01T14:03:20Z"
    assert await cloud.truth() == truth
    set_to = await cloud.http.post("/control/clock", json={"now": "2026-04-01T00:00:00Z"})
    assert set_to.json()["now"] == "2026-04-01T00:00:00Z"
    for body in (
        {"now": "2026-04-01T00:00:00"},
        {"advance_s": 1e11},
        {"now": "2999-01-01T00:00:00Z"},
        {"advance": 1},
        [],
    ):
        assert (await cloud.http.post("/control/clock", json=body)).status_code == 400


async def test_a_test_sets_faults_without_http(cloud: Faulty) -> None:
    inside = cloud.app.state.cloud
    fault = inside.set_fault("unauthorized", "empty", count=1, path="egvs")

    assert (await cloud.ask()).status_code == 401
    assert (fault.hits, fault.count) == (1, 0)
    inside.set_fault("server_error", 500)
    inside.set_fault("server_error", None)
    inside.clear_faults("unauthorized")
    assert inside.faults.active == []
    with pytest.raises(FaultError):
        inside.clear_faults("snow")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_fault_is_in_the_table_and_its_example_works(kind: Any) -> None:
    assert read_text(KINDS, kind.example)[0] is kind
    assert f"| `{kind.name}` |" in DOCS.read_text()


def test_the_command_starts_with_faults_and_cuts_quietly(tmp_path: Path) -> None:
    options = ("--port", "0", "--json", "--data-dir", str(tmp_path), "--redirect-uri", CALLBACK, "--client-id")
    options += ("client-1", "--client-secret", "key-1", "--fault", "cut_body=short", "--fault", "delay_hours=3")
    with started(*options) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        with httpx2.Client(base_url=url, timeout=30) as http:
            with pytest.raises(httpx2.RemoteProtocolError):
                walked_through(http)
            http.post("/control/faults", json={"set": {"cut_body": "dropped"}})
            with pytest.raises(httpx2.RemoteProtocolError):
                walked_through(http)
            assert [fault["hits"] for fault in http.get("/control/faults").json()["faults"]] == [1, 0]
        process.terminate()
        assert process.communicate(timeout=30) == ("", "")


def test_the_command_names_a_wrong_fault_and_lists_the_right_ones(tmp_path: Path) -> None:
    def told(*options: str) -> tuple[int, str, str]:
        command = [
            sys.executable,
            "-m",
            "evercgm.cli.simulate",
            "dexcom",
            "--data-dir",
            str(tmp_path / "data"),
            *options,
        ]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
        return done.returncode, done.stdout, done.stderr

    code, _, said = told("--fault", "slow=x")
    assert (code, said.count("\n")) == (2, 1)
    assert "fault slow:" in said
    assert "as in slow=35" in said
    assert not (tmp_path / "data").exists()
    listed = told("--help")[1]
    assert [kind.name for kind in KINDS if f"{kind.name}:" not in listed] == []
