"""The simulated LibreView writes its file in the forms that were seen, and each is read back as what was measured."""

import csv
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from evercgm.core.errors import AnswerNeeded
from evercgm.file_imports.formats import read_file
from evercgm.file_imports.parsed import Answers, Parsed
from evercgm.providers.libre.simulator.app import create_app
from evercgm.providers.libre.simulator.people import ALEX, KIM, Patient

NOW = datetime(2026, 11, 30, 12, 0, 30, tzinfo=UTC)
# Both live an hour before UTC, all year.
ZONE = "Etc/GMT-1"
FORMS: tuple[dict[str, str], ...] = (
    {},
    {"language": "de", "order": "dmy", "hours": "24"},
    {"language": "fr", "order": "dmy", "hours": "24", "separator": "/", "before": "blank"},
    {"order": "ymd", "hours": "24", "before": "name", "columns": "21"},
    {"language": "de", "unit": "mmol/L", "decimal": "comma", "order": "dmy", "hours": "24", "columns": "21"},
    {"unit": "mmol/L", "separator": "/"},
)


@asynccontextmanager
async def cloud(folder: Path, now: datetime) -> AsyncIterator[httpx2.AsyncClient]:
    app = create_app(folder, clock=lambda: now)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://libre.test") as client:
        yield client
    app.state.cloud.state.ledger.close()


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    async with cloud(tmp_path / "libre", NOW) as client:
        yield client


async def download(http: httpx2.AsyncClient, patient: Patient, form: dict[str, str]) -> bytes:
    answer = await http.get(f"/libre/control/patients/{patient.patient_id}/export.csv", params=form)
    assert answer.status_code == 200, answer.text
    return answer.content


async def measured(http: httpx2.AsyncClient, patient: Patient) -> dict[datetime, int]:
    """History by whole minutes, as far as it has come."""
    start = {"start": (NOW - timedelta(days=90)).isoformat()}
    rows: list[dict[str, Any]] = (
        await http.get(f"/libre/control/patients/{patient.patient_id}/truth", params=start)
    ).json()
    found = {datetime.fromisoformat(row["at"]): row["value"] for row in rows}
    return {
        at.replace(second=0, microsecond=0): value for at, value in found.items() if at <= NOW - timedelta(minutes=17)
    }


def read(body: bytes, order: str | None = None, now: datetime = NOW) -> Parsed:
    return read_file(io.BytesIO(body), Answers(ZONE, order), now)[1]


@pytest.mark.parametrize("patient", [ALEX, KIM], ids=lambda patient: patient.sensor)
@pytest.mark.parametrize("form", FORMS, ids=lambda form: " ".join(form.values()) or "usual")
async def test_each_form_is_read_as_what_was_measured(
    http: httpx2.AsyncClient, patient: Patient, form: dict[str, str]
) -> None:
    parsed = read(await download(http, patient, form))

    history = {one.measured_at: one.glucose_mg_dl for one in parsed.readings if one.record_key.startswith("0")}
    truth = await measured(http, patient)
    assert history.keys() == truth.keys()
    assert parsed.unit == form.get("unit", "mg/dL" if patient.uom else "mmol/L")
    # A tenth of mmol/L is nearly two mg/dL.
    most = 0 if parsed.unit == "mg/dL" else 1.4
    assert max(abs(history[at] - value) for at, value in truth.items()) <= most
    assert len(history) > 500


async def test_a_file_of_the_first_days_of_a_month_asks_for_the_order_of_its_dates(tmp_path: Path) -> None:
    now = datetime(2026, 12, 9, 12, 0, tzinfo=UTC)
    async with cloud(tmp_path / "libre", now) as http:
        body = await download(http, ALEX, {"order": "dmy"})

    with pytest.raises(AnswerNeeded) as asked:
        read(body, now=now)
    assert asked.value.field == "date_order"
    assert len(read(body, "day_first", now).readings) > 1000


async def test_the_file_begins_with_what_is_personal_and_scans_follow_history(http: httpx2.AsyncClient) -> None:
    rows = list(csv.reader(io.StringIO((await download(http, ALEX, {"before": "name"})).decode())))

    assert rows[0][4] == rows[1][0] == "Alex Test"
    assert {len(row) for row in rows[2:]} == {19}
    kinds = [row[3] for row in rows[3:]]
    assert kinds == sorted(kinds)
    assert set(kinds) == {"0", "1"}


@pytest.mark.parametrize(
    ("query", "says"),
    [({"language": "xx"}, "Invalid enum value 'xx'"), ({"colour": "red"}, "unknown field `colour`")],
)
async def test_a_form_that_nobody_has_is_refused_by_name(
    http: httpx2.AsyncClient, query: dict[str, str], says: str
) -> None:
    answer = await http.get(f"/libre/control/patients/{ALEX.patient_id}/export.csv", params=query)

    assert (answer.status_code, says in answer.json()["error"]) == (400, True)
