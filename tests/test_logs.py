"""Logs: secrets are cut out by name and by form."""

import pytest

from evercgm.logs import redact


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("access_token", "abc"),
        ("password", "abc"),
        ("code", "abc"),
        ("database_dsn", "abc"),
        ("text", "sealed v1.0a1b2c3d.QUJDRA== here"),
        ("text", "Authorization: Bearer QUJD"),
        ("text", "eyJhbGciOi.eyJzdWIiOi.QUJD"),
        ("text", "postgresql://user:QUJD@host/db"),
        ("text", "GET /callback?code=QUJD&state=QUJD"),
    ],
)
def test_a_secret_is_cut_out(name: str, value: str) -> None:
    cleaned = redact(None, "info", {"event": "x", name: value})

    assert "QUJD" not in str(cleaned)
    assert "abc" not in str(cleaned)


def test_what_is_no_secret_stays() -> None:
    event = {"event": "sync_done", "connection_id": "c-1", "inserted": 3, "error": "VendorTryLater"}

    assert redact(None, "info", dict(event)) == event
