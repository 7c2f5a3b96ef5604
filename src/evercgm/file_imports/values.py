"""A cell with a glucose value into mg/dL: numbers of either unit, and words for what lies beyond the sensor's range."""

import math
import re

from evercgm.core.nearness import Unit
from evercgm.core.reading import ABOVE_RANGE_MG_DL, BELOW_RANGE_MG_DL, Flag

# Sensors measure from 40 mg/dL (2.2 mmol/L; 1.9 was seen) to 400 or 500: a number in between stays as it is. One that
# is far outside is of another unit, or damaged.
LOWEST, HIGHEST = 40, 500
LOWEST_PLAUSIBLE, HIGHEST_PLAUSIBLE = 20, 1000
# From here on a number is one of mg/dL (libre facts B), and a low one: sensors end at 27.8 mmol/L.
NO_MMOL_L = 40
# One decimal of mmol/L times 18, rounded: all cut-points agree, and the original can be read from it (metrics 1).
MG_DL_OF_MMOL_L = 18
# In the languages of the exports that we know; English was seen, the others are the plain words for it.
_WORDS: dict[str, Flag] = {
    **dict.fromkeys(("low", "lo", "niedrig", "tief", "bas", "basse", "bajo", "baja"), "low"),
    **dict.fromkeys(("high", "hi", "hoch", "haut", "haute", "élevé", "élevée", "alto", "alta"), "high"),
}
_MG_DL = re.compile(r"\d{1,4}(?:[.,]0+)?")
_MMOL_L = re.compile(r"\d{1,3}(?:[.,]\d{1,2})?")

Value = tuple[int, Flag | None]


def glucose(text: str, unit: Unit) -> Value | str:
    """A cell that is not empty as mg/dL and flag, or why it is none, in words."""
    flag = _WORDS.get(text.casefold())
    if flag is not None:
        return (BELOW_RANGE_MG_DL if flag == "low" else ABOVE_RANGE_MG_DL), flag
    shown = text if len(text) <= 20 and text.isprintable() else f"{text[:20]!r}…"
    if not (_MG_DL if unit == "mg/dL" else _MMOL_L).fullmatch(text, endpos=20):
        if unit == "mg/dL" and _MMOL_L.fullmatch(text):
            return f"{shown} has decimals, and the file says mg/dL"
        return f"{shown} is neither a glucose value in {unit} nor a word for high or low that we know"
    number = float(text.replace(",", "."))
    mg_dl = math.floor(number * (MG_DL_OF_MMOL_L if unit == "mmol/L" else 1) + 0.5)
    is_other_unit = unit == "mmol/L" and number >= NO_MMOL_L
    if is_other_unit or not LOWEST_PLAUSIBLE <= mg_dl <= HIGHEST_PLAUSIBLE:
        return f"{shown} cannot be a glucose value in {unit}"
    if mg_dl < LOWEST:
        return BELOW_RANGE_MG_DL, "low"
    return (mg_dl, None) if mg_dl <= HIGHEST else (ABOVE_RANGE_MG_DL, "high")
