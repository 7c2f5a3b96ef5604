"""Faults on switches for the simulated clouds: what is on, how often, for whom; knows no vendor, no clock, no HTTP."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

import msgspec

T = TypeVar("T")


class FaultError(ValueError):
    """No such fault, or a value it cannot take; one line that names the fault and what would be right."""


@dataclass(frozen=True, slots=True)
class FaultKind(Generic[T]):
    """One switch. `values` says in words what it takes, `example` is such a value as typed on a command line.

    `places`: the last segments of the paths it can strike, empty where it is not about single calls; of
    these, `only_if_named` are struck only when a path is named. `per_call`: may be limited to the next
    calls (count) or to some of them (probability). `lasting`: changes the data, so it outlives a restart.
    """

    name: str
    value_type: Any
    values: str
    example: str
    meaning: str
    places: tuple[str, ...] = ()
    only_if_named: tuple[str, ...] = ()
    per_call: bool = True
    lasting: bool = False

    def read(self, value: object) -> T:
        """A value as JSON gives it; raises FaultError."""
        try:
            return cast(T, msgspec.convert(value, self.value_type))
        except msgspec.ValidationError as error:
            reason = " ".join(str(error).split())
            raise FaultError(f"fault {self.name}: {reason}; right is {self.values}, as in {self.example}") from error


@dataclass(slots=True)
class Fault:
    """A switch that is on. `count`: matching calls left to strike, None without limit; `hits`: calls struck."""

    kind: FaultKind[Any]
    value: object
    count: int | None = None
    probability: float = 1.0
    path: str | None = None
    username: str | None = None
    hits: int = 0

    @property
    def scope(self) -> tuple[str, str | None, str | None]:
        """Two faults with the same scope exclude each other: the later replaces the earlier."""
        return self.kind.name, self.path, self.username

    def covers(self, kind: FaultKind[Any], path: str, username: str | None) -> bool:
        """Whether a call on this path, for this user, can be struck."""
        if self.kind is not kind or self.count == 0 or self.username not in (None, username):
            return False
        if self.path is not None:
            return self.path == path
        return path not in kind.only_if_named and (not kind.places or path in kind.places)

    def told(self) -> dict[str, object]:
        """What the control path says about it."""
        return {
            "name": self.kind.name,
            "value": self.value,
            "count": self.count,
            "probability": self.probability,
            "path": self.path,
            "username": self.username,
            "hits": self.hits,
        }


@dataclass(slots=True)
class Switchboard:
    """All switches of one cloud. Chance is seeded: the same calls meet the same faults."""

    kinds: Sequence[FaultKind[Any]]
    seed: int = 0
    active: list[Fault] = field(default_factory=list)
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311 - reproducible on purpose

    def kind(self, name: str) -> FaultKind[Any]:
        """The switch with this name; raises FaultError."""
        found = [kind for kind in self.kinds if kind.name == name]
        if not found:
            known = ", ".join(sorted(kind.name for kind in self.kinds))
            raise FaultError(f"fault {name!r}: there is none with this name; there are {known}")
        return found[0]

    def add(self, fault: Fault) -> Fault:
        """Turn a switch on in its scope; False as value turns it off. Raises FaultError for a senseless limit."""
        _check_limits(fault)
        self.active = [other for other in self.active if other.scope != fault.scope]
        if fault.value is not False:
            # The newest first: it is met before a wider one that was on already.
            self.active.insert(0, fault)
        return fault

    def clear(self, name: str | None = None) -> None:
        """Turn one switch off in every scope, or all; raises FaultError."""
        kind = None if name is None else self.kind(name)
        self.active = [] if kind is None else [fault for fault in self.active if fault.kind is not kind]

    def take(self, kind: FaultKind[T], path: str = "", username: str | None = None) -> T | None:
        """The value if this call is struck, and then one hit more and one left less; ask once a call."""
        for fault in self.active:
            if fault.covers(kind, path, username) and self._strikes(fault):
                fault.hits += 1
                if fault.count is not None:
                    fault.count -= 1
                return cast(T, fault.value)
        return None

    def has_username_scope(self) -> bool:
        """Whether it matters whose call it is."""
        return any(fault.username is not None for fault in self.active)

    def _strikes(self, fault: Fault) -> bool:
        return fault.probability >= 1 or self.chance.random() < fault.probability


def read_text(kinds: Sequence[FaultKind[Any]], text: str) -> tuple[FaultKind[Any], object]:
    """`NAME=VALUE` of a command line: the value as JSON, else as plain text; raises FaultError."""
    name, equals, given = text.partition("=")
    kind = Switchboard(kinds).kind(name.strip())
    if not equals:
        raise FaultError(f"fault {kind.name}: has no value; right is {kind.values}, as in {kind.example}")
    try:
        value: object = msgspec.json.decode(given)
    except msgspec.DecodeError:
        value = given
    if kind.value_type is str:
        value = given
    return kind, kind.read(value)


def _check_limits(fault: Fault) -> None:
    """Raises FaultError where count, probability or path make no sense for this fault."""
    kind, name = fault.kind, fault.kind.name
    limited = fault.count is not None or fault.probability != 1.0 or fault.path is not None
    if limited and not kind.per_call:
        raise FaultError(f"fault {name}: is not about single calls; right is no count, probability or path")
    if fault.count is not None and fault.count < 1:
        raise FaultError(f"fault {name}: count {fault.count}; right is a whole number from 1")
    if not 0 < fault.probability <= 1:
        raise FaultError(f"fault {name}: probability {fault.probability:g}; right is above 0, at most 1")
    if fault.path is not None and fault.path not in kind.places:
        raise FaultError(f"fault {name}: path {fault.path!r}; right is {', '.join(kind.places) or 'none at all'}")
