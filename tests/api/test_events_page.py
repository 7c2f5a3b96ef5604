"""docs/events.md tells of the live stream what is so."""

import re
from dataclasses import fields
from inspect import signature
from pathlib import Path

from evercgm.api.events_routes import COME_BACK_AFTER_MS, HEARTBEAT_S
from evercgm.api.readings_routes import Reading
from evercgm.api.sync_routes import Sync
from evercgm.storage.changes import LONGEST_AWAY, LOOK_EVERY_S, MOST_READINGS_A_LOOK, MOST_WAITING, ConnectionState, Hub

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")


def told_fields(kind: str) -> set[str]:
    """The names in the table's row of an event, without those of addresses and values."""
    row = re.search(rf"^\| `{kind}` \|.*\| (.*) \|$", PAGE, re.MULTILINE)
    assert row
    return set(re.findall(r"`([a-z_]+)`", row[1]))


def test_the_fields_of_each_event_are_those_of_the_code() -> None:
    assert told_fields("reading") == {"person_id", *Reading.model_fields}
    assert told_fields("connection") == {field.name for field in fields(ConnectionState)}
    assert told_fields("sync") == set(Sync.model_fields)


def test_the_figures_are_those_of_the_code() -> None:
    limits = signature(Hub).parameters
    assert f"Every {HEARTBEAT_S:.0f} s of silence" in PAGE
    assert f"retry: {COME_BACK_AFTER_MS}" in PAGE
    assert f"after the {COME_BACK_AFTER_MS // 1000} s that `retry` asks for" in PAGE
    assert f"at most {MOST_READINGS_A_LOOK} a second" in PAGE
    assert f"more than {MOST_WAITING} events unread" in PAGE
    assert f"may have {limits['most_of_owner'].default} streams at one process" in PAGE
    assert f"a process serves {limits['most'].default} in all" in PAGE
    assert (LOOK_EVERY_S, LONGEST_AWAY.days) == (1.0, 1)
