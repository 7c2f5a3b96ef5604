"""The words for drift of a recorded migration: the same in ``migrate --plan``, ``status``, ``verify``, ``drift``."""

from evercgm.storage.schema.plan import Step


def mend_of(step: Step, option: str = "") -> str:
    """What mends a recorded migration whose objects are not all as it made them. ``option``: where the database is."""
    return repair_of(step.version, by_hand=bool(step.wrong), option=option)


def repair_of(version: str, *, by_hand: bool, option: str = "") -> str:
    """``by_hand``: something is there in another form, which no run of ours overwrites."""
    command = f"evercgm db migrate --repair {version}{option}"
    if not by_hand:
        return f"{command} makes again what is missing"
    return (
        "bring what is in another form to the form expected, by hand; an index, a reference, a policy, a trigger or a "
        f"function may be dropped instead: {command} makes it again"
    )
