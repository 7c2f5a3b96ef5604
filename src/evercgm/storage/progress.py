"""How far the syncs of a connection have come, as it is stored: the cursor and the scans, each as JSON."""

from collections.abc import Iterator
from datetime import datetime

import msgspec

from evercgm.core.ladder import Scan, Scans


class Cursor(msgspec.Struct, frozen=True):
    """``sync_cursor`` as we write it; anything else there means none. ``egv_high_water`` is aware UTC."""

    v: int
    egv_high_water: datetime


def read_cursor(text: str | None) -> datetime | None:
    """The high water (aware UTC); None for what is not ours."""
    if not text:
        return None
    try:
        cursor = msgspec.json.decode(text, type=Cursor)
    except msgspec.DecodeError:
        return None
    return cursor.egv_high_water if cursor.v == 1 and cursor.egv_high_water.tzinfo else None


def write_cursor(high_water: datetime) -> str:
    """``read_cursor`` gives it back."""
    return msgspec.json.encode(Cursor(v=1, egv_high_water=high_water)).decode()


def read_scans(text: str) -> Scans:
    """By the rung's name. Scans that cannot be read count as never done: they come again."""
    try:
        scans = msgspec.json.decode(text, type=dict[str, Scan])
    except msgspec.DecodeError:
        return {}
    return {name: scan for name, scan in scans.items() if all(at.tzinfo for at in _instants(scan))}


def write_scans(scans: Scans) -> str:
    """``read_scans`` gives them back."""
    return msgspec.json.encode(scans).decode()


def _instants(scan: Scan) -> Iterator[datetime]:
    yield from (at for at in (scan.done, scan.begun) if at is not None)
    for window in scan.left:
        yield from (window.start, window.end)
