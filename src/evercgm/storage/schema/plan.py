"""What a run of the migrations would do, from the objects that are there and the versions that are recorded. Pure."""

from collections.abc import Collection, Mapping, Sequence
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
    """One migration, as this database stands to it.

    ``outdated``: those of the missing that the file changes: objects in an earlier form, grants of another extent.
    """

    version: str
    name: str
    recorded: bool
    there: int
    missing: tuple[Key, ...]
    wrong: tuple[Wrong, ...]
    outdated: tuple[Wrong, ...] = ()

    @property
    def action(self) -> Action:
        """``adopt``: all is there, only the record is missing. ``complete``: a part is there.

        Grants are set and not made: where only they differ, a recorded file is run again.
        """
        if self.recorded:
            if self.wrong or not all(_is_grant(key) for key in self.missing):
                return "stop"
            return "complete" if self.missing else "nothing"
        if self.wrong:
            return "stop"
        if not self.missing:
            return "adopt"
        return "complete" if self.there else "apply"

    def reasons(self) -> list[str]:
        """For people: each object that is missing or in another form; before a first run, only what is in its way."""
        if self.wrong and not self.recorded:
            return [str(wrong) for wrong in self.wrong]
        absent = [f"{key} is missing" for key in self.absent()]
        return absent + [str(wrong) for wrong in (*self.outdated, *self.wrong)]

    def absent(self) -> list[Key]:
        """The missing ones that are not there in any form."""
        earlier = {one.key for one in self.outdated}
        return [key for key in self.missing if key not in earlier]


def step_of(version: str, name: str, entries: Entries, recorded: Collection[str], rights: Sequence[Wrong] = ()) -> Step:
    """How ``entries`` of a database stand to one migration.

    A form that a later migration gives counts as there; one that an earlier migration gave is yet to be changed.
    ``rights``: grants that the migration sets beyond those of the target.
    """
    order = list(target())
    place = order.index(version)
    there, wrong = 0, []
    outdated = [one for one in rights if one.found]
    missing = [one.key for one in rights]
    for key, expected in target()[version].items():
        found = entries.get(key)
        if found is None:
            missing.append(key)
        elif _is_form_of(found, key, order[place:]):
            there += 1
        elif _is_grant(key) or _is_form_of(found, key, order[:place]):
            missing.append(key)
            outdated.append(Wrong(key, expected, found))
        else:
            wrong.append(Wrong(key, expected, found))
    return Step(version, name, version in recorded, there, tuple(missing), tuple(wrong), tuple(outdated))


def _is_grant(key: Key) -> bool:
    return key.kind.endswith("grant")


def _is_form_of(found: str, key: Key, versions: Collection[str]) -> bool:
    forms: Mapping[str, Entries] = target()
    return any(key in forms[version] and same(plainly(found), plainly(forms[version][key])) for version in versions)
