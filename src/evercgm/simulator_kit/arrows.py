"""Rates and arrows of a glucose curve, and its ends out of range, as Dexcom's sensors tell them; pure."""

from datetime import timedelta

from evercgm.simulator_kit.trace import TraceRecord

# A rate needs a neighbour; after a gap no arrow is shown.
NEIGHBOUR_WITHIN = timedelta(minutes=12)
LOWEST_MG_DL, HIGHEST_MG_DL = 40, 400
# Dexcom v3, "egvs": from this rate upwards (mg/dL/min), mirrored below zero.
TREND_FROM = ((3.0, "double"), (2.0, "single"), (1.0, "fortyFive"))
HIGHEST_RATE = 8.0


def wire_value(glucose_mg_dl: int) -> tuple[int, str | None]:
    """The value with its status: 39 and 401 stand for Low and High."""
    if glucose_mg_dl < LOWEST_MG_DL:
        return LOWEST_MG_DL - 1, "low"
    if glucose_mg_dl > HIGHEST_MG_DL:
        return HIGHEST_MG_DL + 1, "high"
    return glucose_mg_dl, None


def trend_of(rate: float | None) -> tuple[str, float | None]:
    """Arrow and rate for a rate in mg/dL/min; None where there is no neighbour."""
    if rate is None:
        return "none", None
    if abs(rate) > HIGHEST_RATE:
        return "rateOutOfRange", None
    for least, name in TREND_FROM:
        if abs(rate) >= least:
            return name + ("Up" if rate > 0 else "Down"), rate
    return "flat", rate


def rate_at(record: TraceRecord, before: TraceRecord | None) -> float | None:
    """Change since the neighbour in mg/dL/min, to one decimal; None after a gap."""
    if before is None or record.measured_at - before.measured_at > NEIGHBOUR_WITHIN:
        return None
    minutes = (record.measured_at - before.measured_at) / timedelta(minutes=1)
    return round((record.glucose_mg_dl - before.glucose_mg_dl) / minutes, 1)
