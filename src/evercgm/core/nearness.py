"""How near two records must lie to be one reading. Vendors' clouds tell seconds; files tell minutes, and round."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from evercgm.core.reading import ABOVE_RANGE_MG_DL, BELOW_RANGE_MG_DL

Unit = Literal["mg/dL", "mmol/L"]
UNITS: tuple[Unit, ...] = ("mg/dL", "mmol/L")


@dataclass(frozen=True, slots=True)
class Nearness:
    """At most so many seconds and mg/dL apart. ``by_ends``: what lies beyond the range may be written as its end."""

    seconds: int
    mg_dl: int = 0
    by_ends: bool = False


USUAL = Nearness(30)
# By the route of a file's stream, in seconds: LibreView rounds to the minute, CareLink has a pump's own clock (libre
# facts B, medtronic facts B).
_FILES = {"clarity_csv": 30, "libreview_csv": 90, "carelink_csv": 60}
_PROVIDERS = {"clarity_csv": "dexcom", "libreview_csv": "abbott", "carelink_csv": "medtronic"}
# One decimal of mmol/L is 1.8 mg/dL: what was rounded to it comes back at most 1 mg/dL away.
_MG_DL = {"mg/dL": 0, "mmol/L": 1}
# LibreView writes what lies beyond the range as its end (libre facts B); Libre's cloud with a flag, or as the end, too.
# So 39 and 40 are one reading of a minute, and so are 401 and 500. The file cannot tell a measured 40 from less, so it
# stays the number that it is: called low, it would part from the cloud's measured 40, and both count as very low. What
# the cloud says is what is stored in the end.
_BY_ENDS = "libreview_csv"
RANGE_ENDS: Mapping[str, int] = {
    "below": BELOW_RANGE_MG_DL, "lowest": 40, "above": ABOVE_RANGE_MG_DL, "highest": 500,
}  # fmt: skip


def file_stream(route: str, unit: Unit) -> str:
    """The stream of a file's records: provider, route and, in place of an account that no file names, its unit."""
    return f"{_PROVIDERS[route]}/{route}/{unit.replace('/', '_')}"


FILE_STREAMS: Mapping[str, Nearness] = {
    file_stream(route, unit): Nearness(seconds, _MG_DL[unit], route == _BY_ENDS)
    for route, seconds in _FILES.items()
    for unit in UNITS
}
WIDEST = Nearness(max(_FILES.values()), max(_MG_DL.values()), by_ends=True)


def nearness_of(stream: str) -> Nearness:
    """What a record of this stream may be apart from the same reading in another one."""
    return FILE_STREAMS.get(stream, USUAL)
