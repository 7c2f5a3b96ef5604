"""Events, calibrations and alerts are not read yet; whatever arrives of them, none becomes a glucose reading."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from evercgm.core.errors import VendorChanged
from evercgm.providers.dexcom.mapping import read_egvs

FIXTURES = Path(__file__).parent / "fixtures"
NOW = datetime(2026, 11, 24, tzinfo=UTC)


def fixture(name: str) -> Any:
    return json.loads((FIXTURES / name).read_text())


def quirks() -> list[Any]:
    return [pytest.param(case["record"], id=case["case"]) for case in fixture("events_quirks.json")]


@pytest.mark.parametrize("name", ["events.json", "calibrations.json", "alerts.json"])
def test_an_answer_of_another_kind_is_refused_whole(name: str) -> None:
    with pytest.raises(VendorChanged):
        read_egvs(json.dumps(fixture(name)).encode(), NOW)


@pytest.mark.parametrize("record", quirks())
def test_an_odd_event_never_becomes_a_reading(record: dict[str, Any]) -> None:
    envelope = {"recordVersion": "3.0", "userId": "u", "records": [record]}
    with pytest.raises(VendorChanged):
        read_egvs(json.dumps({**envelope, "recordType": "event"}).encode(), NOW)

    batch = read_egvs(json.dumps(envelope).encode(), NOW)

    assert batch.readings == ()
    assert len(batch.rejected) == 1
