"""A client that others wrote, pylibrelinkup, against the simulated cloud: what it can do and what it refuses there.

It was written from the real service's answers, and is strict about their shape.
"""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pydantic
import pylibrelinkup
import pytest
import requests
from libre_process import Cloud, running, steady_trace
from pylibrelinkup.pylibrelinkup import HEADERS

from evercgm.core.reading import Batch
from evercgm.core.sync import Window
from evercgm.providers.libre import PROVIDER

ALEX, KIM = "2197178c-ec91-57c9-8823-7e6f48faa652", "fe685497-cdba-5800-a8c1-a571a8c7771e"
FOLLOWER, FAMILY = "follower@example.com", "family@example.com"


@pytest.fixture(scope="module")
def running_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("libre")
    with running(folder / "data", "--trace", str(steady_trace(folder / "trace.csv"))) as cloud:
        yield cloud


@pytest.fixture
def cloud(running_cloud: Cloud) -> Iterator[Cloud]:
    running_cloud.calm()
    yield running_cloud
    running_cloud.calm()


def client(cloud: Cloud, username: str = FOLLOWER, shard: str = "/eu") -> Any:
    """Their client at one of the regional hosts, as it is used."""
    theirs = pylibrelinkup.PyLibreLinkUp(email=username, password=cloud.passwords[username])
    theirs.api_url = cloud.url + shard
    return theirs


def signed_in(cloud: Cloud, username: str = FOLLOWER) -> Any:
    theirs = client(cloud, username)
    theirs.authenticate()
    return theirs


def ours(cloud: Cloud, username: str, who: str, back: timedelta = timedelta(hours=1)) -> Batch:
    """The same person read by our client."""

    async def read() -> Batch:
        tokens, now = await cloud.sign_in(username, who), datetime.now(UTC)
        async with cloud.http() as http:
            return await PROVIDER.read(http, cloud.app, tokens.access, Window(now - back, now))

    return asyncio.run(read())


def test_it_signs_in_and_sees_both_people_of_a_family(cloud: Cloud) -> None:
    theirs = signed_in(cloud, FAMILY)

    people = theirs.get_patients()

    assert [(one.first_name, str(one.patient_id)) for one in people] == [("Alex", ALEX), ("Kim", KIM)]
    assert theirs.token
    assert theirs.account_id_hash


@pytest.mark.parametrize("who", [ALEX, KIM])
def test_it_reads_the_same_history_as_our_client(cloud: Cloud, who: str) -> None:
    theirs = signed_in(cloud, FAMILY)
    before, batch, after = theirs.graph(who), ours(cloud, FAMILY, who), theirs.graph(who)

    mine = [(reading.measured_at, reading.glucose_mg_dl) for reading in batch.readings]
    told = [[(point.factory_timestamp, point.value_in_mg_per_dl) for point in graph] for graph in (before, after)]
    assert mine in told
    assert len(mine) > (130 if who == ALEX else 20)
    offsets = [point.timestamp.replace(tzinfo=UTC) - point.factory_timestamp for point in after]
    assert set(offsets) == {timedelta(minutes=reading.display_offset_min or 0) for reading in batch.readings}


def test_it_sees_mmol_l_beside_the_values_that_we_store(cloud: Cloud) -> None:
    for point in signed_in(cloud, FAMILY).graph(KIM):
        assert point.glucose_units == 0
        assert point.value == pytest.approx(point.value_in_mg_per_dl / 18.0182, abs=0.051)


def test_it_reads_the_same_present_value_with_the_same_arrow(cloud: Cloud) -> None:
    arrows = {1: "singleDown", 2: "fortyFiveDown", 3: "flat", 4: "fortyFiveUp", 5: "singleUp"}
    theirs = signed_in(cloud)
    before, batch, after = theirs.latest(ALEX), ours(cloud, FOLLOWER, ALEX), theirs.latest(ALEX)

    (live,) = batch.live
    told = [(one.factory_timestamp, one.value_in_mg_per_dl, arrows[one.trend]) for one in (before, after)]
    assert (live.measured_at, live.glucose_mg_dl, live.trend) in told


def test_it_reads_the_same_scans(cloud: Cloud) -> None:
    book = signed_in(cloud).logbook(ALEX)
    live = ours(cloud, FOLLOWER, ALEX, timedelta(days=14)).live

    # The oldest may be 14 days old between the two calls.
    scans = [(entry.factory_timestamp, entry.value_in_mg_per_dl) for entry in reversed(book)]
    assert len(scans) >= 10
    assert set(scans[1:]) <= {(reading.measured_at, reading.glucose_mg_dl) for reading in live}


def test_an_empty_graph_and_nobody_to_follow_are_no_errors_to_it(cloud: Cloud) -> None:
    theirs = signed_in(cloud)
    cloud.fault("upload_delay_min", 2 * 24 * 60)

    assert theirs.graph(ALEX) == []
    cloud.calm()
    nobody = client(cloud, "nobody@example.com", "/de")
    nobody.authenticate()
    assert nobody.get_patients() == []


def test_it_is_sent_on_to_the_region_where_the_account_lives(cloud: Cloud) -> None:
    with pytest.raises(pylibrelinkup.RedirectError) as caught:
        client(cloud, shard="").authenticate()

    assert caught.value.region is pylibrelinkup.APIUrl.EU
    client(cloud, "entry@example.com", shard="").authenticate()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("login_step", "tou", pylibrelinkup.TermsOfUseError),
        ("login_step", "pp", pylibrelinkup.PrivacyPolicyError),
        ("login_step", "verifyEmail", pylibrelinkup.EmailVerificationError),
        ("login_step", "2faVerify", pylibrelinkup.AuthenticationError),
        ("login_step", "newStep", pylibrelinkup.AuthenticationError),
        ("login_step", "no_ticket", pylibrelinkup.AuthenticationError),
        ("locked", True, pylibrelinkup.AuthenticationError),
        ("maintenance", True, pylibrelinkup.AuthenticationError),
        ("rate_limited", "60", requests.HTTPError),
        ("cloudflare", 403, requests.HTTPError),
        ("login_ban", {"status": 430}, requests.HTTPError),
        ("login_ban", {"status": 476, "retry_after": 65620}, requests.HTTPError),
    ],
)
def test_its_sign_in_is_refused_as_by_the_real_service(
    cloud: Cloud, name: str, value: object, expected: type[Exception]
) -> None:
    cloud.fault(name, value)

    with pytest.raises(expected) as caught:
        client(cloud).authenticate()

    assert type(caught.value) is expected


def test_a_wrong_password_is_refused(cloud: Cloud) -> None:
    theirs = client(cloud)
    theirs.login_args.password = "wrong"

    with pytest.raises(pylibrelinkup.AuthenticationError, match="Invalid login credentials"):
        theirs.authenticate()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("rate_limited", "60", pylibrelinkup.LLUAPIRateLimitError),
        ("minimum_version", "4.17.0", requests.HTTPError),
        ("token_refused", "jwt", requests.HTTPError),
        ("client_error", 430, requests.HTTPError),
        ("client_error", 476, requests.HTTPError),
        ("data_redirect", "us", pydantic.ValidationError),
        ("maintenance", True, pydantic.ValidationError),
        ("unfollowed", "couldNotLoadPatient", pylibrelinkup.PatientNotFoundError),
        ("unfollowed", "followerNotConnectToPatient", pylibrelinkup.PatientNotFoundError),
        ("unfollowed", "follower not connect to patient", pylibrelinkup.PatientNotFoundError),
        ("nulls", ["sensor"], pydantic.ValidationError),
        ("nulls", ["graphData"], pydantic.ValidationError),
        ("absent", ["isHigh"], pydantic.ValidationError),
    ],
)
def test_its_data_calls_are_refused_as_by_the_real_service(
    cloud: Cloud, name: str, value: object, expected: type[Exception]
) -> None:
    theirs = signed_in(cloud)
    cloud.fault(name, value)

    with pytest.raises(expected) as caught:
        theirs.graph(ALEX)

    assert type(caught.value) is expected


def test_an_alarm_without_a_value_ends_its_logbook_and_not_ours(cloud: Cloud) -> None:
    cloud.fault("logbook_alarms", True)

    with pytest.raises(pydantic.ValidationError):
        signed_in(cloud).logbook(ALEX)
    assert ours(cloud, FOLLOWER, ALEX, timedelta(days=14)).live


@pytest.mark.parametrize(("header", "status"), [("version", 403), ("product", 400)])
def test_it_is_refused_without_the_headers_that_the_service_wants(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, header: str, status: int
) -> None:
    theirs = signed_in(cloud)
    monkeypatch.setitem(HEADERS, header, "")

    with pytest.raises(requests.HTTPError) as caught:
        theirs.graph(ALEX)

    assert caught.value.response is not None
    assert caught.value.response.status_code == status


@pytest.mark.parametrize(("id_hash", "status"), [(None, 400), ("0" * 64, 403)])
def test_a_missing_account_id_and_a_foreign_one_are_two_refusals(
    cloud: Cloud, id_hash: str | None, status: int
) -> None:
    theirs = signed_in(cloud)
    theirs.account_id_hash = id_hash

    with pytest.raises(requests.HTTPError) as caught:
        theirs.graph(ALEX)

    assert caught.value.response is not None
    assert caught.value.response.status_code == status
    cloud.fault("require_account_id", "no")
    assert theirs.graph(ALEX)
