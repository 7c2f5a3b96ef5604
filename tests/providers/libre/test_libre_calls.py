"""LibreLinkUp's data calls: what is asked, and what each recorded answer means."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog.testing
from libre_answers import ALEX, APP, Canned, case_of, load

from evercgm.actions.windows import hides_readings
from evercgm.core.errors import (
    EvercgmError,
    OperatorMustAct,
    ReconnectNeeded,
    VendorChanged,
    VendorDenied,
    VendorRateLimited,
    VendorTryLater,
)
from evercgm.core.sync import Window
from evercgm.core.tokens import Secret
from evercgm.provider_kit.contract import Survey
from evercgm.providers.libre import PROVIDER
from evercgm.providers.libre.times import parse_time

ACCESS = Secret(json.dumps({"token": "a.b.c", "user_id": "user-1", "patient_id": ALEX, "shard": "de"}))
GRAPH, LOGBOOK, LIST = (f"/de/llu/connections{end}" for end in (f"/{ALEX}/graph", f"/{ALEX}/logbook", ""))
EXPIRED, REFUSED = "expired", "refused"
ERRORS: dict[str, tuple[type[EvercgmError], object]] = {
    "client version too old": (OperatorMustAct, None),
    "Account-Id missing": (VendorChanged, None),
    "Account-Id or patient id does not belong to the token": (VendorDenied, EXPIRED),
    "token unreadable or expired": (VendorDenied, EXPIRED),
    "session ended by the server": (VendorDenied, EXPIRED),
    "no such patient": (ReconnectNeeded, "unfollowed"),
    "patient removed this follower": (ReconnectNeeded, "unfollowed"),
    "same, other wording": (ReconnectNeeded, "unfollowed"),
    "account moved to another region: redirect on a data call": (VendorDenied, EXPIRED),
    "maintenance": (VendorTryLater, 600),
    "too many requests, JSON": (VendorRateLimited, 300),
    "Cloudflare 1015": (VendorRateLimited, None),
    "gateway": (VendorTryLater, None),
    "200 that is not JSON": (VendorTryLater, None),
}


def about(failure: EvercgmError) -> object:
    if isinstance(failure, VendorDenied):
        return EXPIRED if failure.expired_token else REFUSED
    if isinstance(failure, ReconnectNeeded):
        return failure.reason
    return failure.retry_after_s if isinstance(failure, VendorTryLater) else None


def fresh_graph(age: timedelta) -> Any:
    """The recorded graph, its present value as old as this."""
    wire = load("graph_libre3")
    at = datetime.now(UTC) - age
    text = f"{at.month}/{at.day}/{at.year} {at:%I:%M:%S %p}"
    wire["data"]["connection"]["glucoseMeasurement"]["FactoryTimestamp"] = text
    return wire


async def read(answers: dict[str, Any], back: timedelta = timedelta(hours=1)) -> tuple[Any, Canned]:
    canned, now = Canned(answers), datetime.now(UTC)
    async with canned.http() as http:
        return await PROVIDER.read(http, APP, ACCESS, Window(now - back, now)), canned


@pytest.mark.parametrize("title", ERRORS)
async def test_each_refused_data_call_says_whose_turn_it_is(title: str) -> None:
    with pytest.raises(EvercgmError) as caught:
        await read({GRAPH: case_of("data_errors", title)})

    assert type(caught.value) is ERRORS[title][0]
    assert about(caught.value) == ERRORS[title][1]


def test_no_recorded_refusal_is_left_out() -> None:
    assert {case["case"] for case in load("data_errors")} == set(ERRORS)


async def test_a_version_that_is_too_old_is_told_with_the_floor() -> None:
    with pytest.raises(OperatorMustAct, match=r"takes version 4\.16\.0 of its app no longer") as refused:
        await read({GRAPH: case_of("data_errors", "client version too old")})

    assert (refused.value.cure, refused.value.floor) == ("app_version", "4.16.0")


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"http_status": 403, "body": "<html>Attention Required!</html>"}, (VendorDenied, REFUSED)),
        ({"http_status": 430, "body": ""}, (VendorTryLater, None)),
        ({"http_status": 476, "body": "", "headers": {"Retry-After": "65620"}}, (VendorTryLater, 3600)),
        ({"http_status": 404, "body": ""}, (VendorChanged, None)),
        ({"http_status": 200, "body": {"message": "MissingCachedUser"}}, (VendorDenied, EXPIRED)),
        ({"http_status": 200, "body": {"status": 4, "error": {"message": "somethingNew"}}}, (VendorTryLater, None)),
        ({"http_status": 200, "body": {"status": 0, "data": None}}, (VendorChanged, None)),
        ({"http_status": 200, "body": {"status": 17}}, (VendorTryLater, None)),
        ({"http_status": 200, "body": {"status": False, "data": {}}}, (VendorTryLater, None)),
        ({"http_status": 302, "body": "", "headers": {"Location": "https://evil.test/"}}, (VendorChanged, None)),
    ],
)
async def test_refusals_that_were_not_recorded_end_nobody(case: dict[str, Any], expected: tuple[type, object]) -> None:
    with pytest.raises(EvercgmError) as caught:
        await read({GRAPH: case})

    assert (type(caught.value), about(caught.value)) == expected


@pytest.mark.parametrize("body", ["<html>Attention Required!</html>", '{"message": "forbidden"}', ""])
async def test_a_403_waits_an_hour_as_readings_are_kept_for_twelve_only(body: str) -> None:
    with pytest.raises(VendorDenied) as caught:
        await read({GRAPH: {"http_status": 403, "body": body}})

    assert caught.value.wait_s == 3600


@pytest.mark.parametrize(
    ("age", "back", "expected"),
    [
        (timedelta(minutes=1), timedelta(hours=2), [GRAPH]),
        (timedelta(minutes=1), timedelta(hours=11, minutes=50), [GRAPH]),
        (timedelta(minutes=1), timedelta(hours=13), [GRAPH, LOGBOOK]),
        (timedelta(minutes=1), timedelta(days=14), [GRAPH, LOGBOOK]),
        (timedelta(days=3), timedelta(days=3, hours=1), [GRAPH]),
        (timedelta(days=3), timedelta(days=14), [GRAPH, LOGBOOK]),
    ],
)
async def test_the_logbook_is_asked_only_where_a_gap_is_wider_than_the_graph(
    age: timedelta, back: timedelta, expected: list[str]
) -> None:
    batch, canned = await read({GRAPH: fresh_graph(age), LOGBOOK: load("logbook")}, back)

    assert [path for _, path, *_ in canned.asked] == expected
    assert len(batch.readings) == 34
    assert len(batch.live) == (3 if LOGBOOK in expected else 1)
    assert batch.account_id == ALEX


NO_LOGBOOK: list[tuple[Any, bool]] = [
    ({"status": 0, "data": None}, True),
    ({"status": 0}, True),
    ({"status": 0, "data": []}, True),
    ({"status": 0, "data": {"entries": []}}, False),
    ({"http_status": 404, "body": ""}, False),
    ({"http_status": 503, "body": ""}, False),
    ({"http_status": 429, "body": ""}, False),
    ({"http_status": 403, "body": "<html>Attention Required!</html>"}, False),
    ({"http_status": 200, "body": "<html></html>"}, False),
    ({"http_status": 200, "body": {"status": 911}}, False),
]


@pytest.mark.parametrize(("logbook", "is_empty"), NO_LOGBOOK)
async def test_a_logbook_that_fails_takes_nothing_of_the_graph_with_it_and_is_asked_for_again(
    logbook: Any, *, is_empty: bool
) -> None:
    with structlog.testing.capture_logs() as logged:
        batch, _ = await read({GRAPH: fresh_graph(timedelta(minutes=1)), LOGBOOK: logbook}, timedelta(days=14))

    assert (len(batch.readings), len(batch.live)) == (34, 1)
    # What could not be read keeps the cursor where it is, as any record does.
    assert [record.reason for record in batch.rejected] == ([] if is_empty else ["unreadable"])
    assert [line["event"] for line in logged] == ([] if is_empty else ["logbook_left_out"])


@pytest.mark.parametrize(
    ("logbook", "expected"),
    [
        (case_of("data_errors", "token unreadable or expired"), (VendorDenied, EXPIRED)),
        (case_of("data_errors", "no such patient"), (ReconnectNeeded, "unfollowed")),
        (case_of("data_errors", "client version too old"), (OperatorMustAct, None)),
    ],
)
async def test_what_somebody_must_act_upon_is_told_of_a_logbook_too(
    logbook: Any, expected: tuple[type, object]
) -> None:
    with pytest.raises(EvercgmError) as caught:
        await read({GRAPH: fresh_graph(timedelta(minutes=1)), LOGBOOK: logbook}, timedelta(days=14))

    assert (type(caught.value), about(caught.value)) == expected


async def test_a_survey_is_one_call_and_knows_how_far_back_there_can_be_something() -> None:
    canned, now = Canned({LIST: load("connections")}), datetime.now(UTC)
    async with canned.http() as http:
        survey = await PROVIDER.survey(http, APP, ACCESS)

    newest = datetime(2026, 3, 14, 13, 38, 50, tzinfo=UTC)
    assert survey == Survey(ALEX, min(newest, survey.first or now), newest, "libre3")
    assert survey.first is not None
    assert survey.first <= now - timedelta(days=13)
    assert [path for _, path, *_ in canned.asked] == [LIST]


def listed_with(present: object) -> Any:
    """The recorded list with one person, of whom it shows this as the present value."""
    listed = load("connections")
    return listed | {"data": [listed["data"][0] | {"glucoseMeasurement": present, "glucoseItem": present}]}


def graph_with(present: object, history: object) -> Any:
    wire = load("graph_libre3")
    wire["data"]["connection"] |= {"glucoseMeasurement": present, "glucoseItem": present}
    wire["data"]["graphData"] = history
    return wire


async def surveyed(answers: dict[str, Any]) -> tuple[Survey, Canned]:
    canned = Canned(answers)
    async with canned.http() as http:
        return await PROVIDER.survey(http, APP, ACCESS), canned


UNTIMED = {"FactoryTimestamp": "soon", "type": 1, "ValueInMgPerDl": 110}


@pytest.mark.parametrize("present", [None, {}, UNTIMED])
async def test_where_the_list_shows_no_present_value_the_graph_says_whether_there_is_a_history(present: object) -> None:
    history = load("graph_libre3")["data"]["graphData"]

    survey, canned = await surveyed({LIST: listed_with(present), GRAPH: graph_with(present, history)})

    newest = parse_time(history[-1]["FactoryTimestamp"])
    assert newest is not None
    assert (survey.account_id, survey.last, survey.device_id) == (ALEX, newest, "libre3")
    # As deep as with a present value: the scans of the logbook are not left out.
    assert survey.first is not None
    assert survey.first <= min(newest, datetime.now(UTC) - timedelta(days=13))
    assert [path for _, path, *_ in canned.asked] == [LIST, GRAPH]


@pytest.mark.parametrize("history", [None, []])
async def test_a_person_without_present_value_and_history_has_no_first_one(history: object) -> None:
    survey, canned = await surveyed({LIST: listed_with(None), GRAPH: graph_with(None, history)})

    assert survey == Survey(ALEX, None, None, "libre3")
    assert [path for _, path, *_ in canned.asked] == [LIST, GRAPH]


async def test_what_is_all_unreadable_is_to_be_read_all_the_same_and_set_aside() -> None:
    answers = {LIST: listed_with(UNTIMED), GRAPH: graph_with(UNTIMED, [])}

    survey, _ = await surveyed(answers)

    assert survey.last is None
    assert survey.first is not None
    window = Window(survey.first, datetime.now(UTC) + timedelta(minutes=5))
    batch, _ = await read(answers, window.end - window.start)
    assert [record.reason for record in batch.rejected] == ["bad_time"]
    assert not hides_readings(window, batch, survey)


@pytest.mark.parametrize("unreadable", [None, "", "../x", 5])
async def test_a_person_who_may_be_the_one_that_cannot_be_read_is_not_told_as_unfollowed(unreadable: object) -> None:
    listed = load("connections")
    listed["data"][0]["patientId"] = unreadable
    async with Canned({LIST: listed}).http() as http:
        with pytest.raises(VendorChanged):
            await PROVIDER.survey(http, APP, ACCESS)


async def test_a_survey_of_somebody_who_is_no_longer_followed_asks_for_an_invitation() -> None:
    async with Canned({LIST: load("connections_empty")}).http() as http:
        with pytest.raises(ReconnectNeeded, match="unfollowed"):
            await PROVIDER.survey(http, APP, ACCESS)


@pytest.mark.parametrize("text", ["", "a.b.c", "{}", "[]"])
async def test_an_access_token_of_another_form_asks_for_a_new_sign_in(text: str) -> None:
    async with Canned({}).http() as http:
        with pytest.raises(VendorDenied) as caught:
            await PROVIDER.survey(http, APP, Secret(text))

    assert caught.value.expired_token
