"""What a run of the migrations would do, from the objects that are there and the versions that are recorded. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from evercgm.storage.schema.snapshot import Key
from evercgm.storage.schema.target import Entries, plainly, same, target

Action = Literal["apply", "complete", "adopt", "nothing", "stop"]


@dataclass(frozen=True, slots=True)
class Wrong:
    """An object of the right name in another form."""

    key: Key
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.key}: expected {self.expected}; found {self.found}"


@dataclass(frozen=True, slots=True)
class Step:
    """One migration, as this database stands to it. ``outdated``: the missing ones that have an earlier form."""

    version: str
    name: str
    recorded: bool
    there: int
    missing: tuple[Key, ...]
    wrong: tuple[Wrong, ...]
    outdated: tuple[Wrong, ...] = ()

    @property
    def action(self) -> Action:
        """``adopt``: all is there, only the record is missing. ``complete``: a part is there."""
        if self.recorded:
            return "stop" if self.missing or self.wrong else "nothing"
        if self.wrong:
            return "stop"
        if not self.missing:
            return "adopt"
        return "complete" if self.there else "apply"

    def reasons(self) -> list[str]:
        """For people: each object that is missing or in another form."""
        absent = [f"{key} is missing" for key in self.absent()]
        return absent + [str(wrong) for wrong in (*self.outdated, *self.wrong)]

    def absent(self) -> list[Key]:
        """The missing ones that are not there in any form."""
        earlier = {one.key for one in self.outdated}
        return [key for key in self.missing if key not in earlier]


def step_of(version: str, name: str, entries: Entries, recorded: Collection[str]) -> Step:
    """How ``entries`` of a database stand to one migration.

    A form that a later migration gives counts as there; one that an earlier migration gave is yet to be changed.
    """
    order = list(target())
    place = order.index(version)
    there, missing, wrong, outdated = 0, [], [], []
    for key, expected in target()[version].items():
        found = entries.get(key)
        if found is None:
            missing.append(key)
        elif _is_form_of(found, key, order[place:]):
            there += 1
        elif _is_form_of(found, key, order[:place]):
            missing.append(key)
            outdated.append(Wrong(key, expected, found))
        else:
            wrong.append(Wrong(key, expected, found))
    return Step(version, name, version in recorded, there, tuple(missing), tuple(wrong), tuple(outdated))


def _is_form_of(found: str, key: Key, versions: Collection[str]) -> bool:
    forms: Mapping[str, Entries] = target()
    return any(key in forms[version] and same(plainly(found), plainly(forms[version][key])) for version in versions)
